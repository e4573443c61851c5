"""A forecast learns the week, keeps within what can be, and is right about as often as it says."""

import random
import subprocess
import sys
import warnings
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usage.forecast import DAY, HOUR, Forecast, History, forecast

pytestmark = pytest.mark.once

START = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday
WEEK = [1.0, 1.1, 1.2, 1.1, 0.9, 0.2, 0.1]
AMOUNTS = st.lists(st.floats(0, 1e12) | st.just(0.0), max_size=40)


def weeks(days: int, seed: int, noise: float = 0.2) -> list[float]:
    chance = random.Random(seed)  # noqa: S311 - figures, not secrets
    base = chance.uniform(50, 5000)
    return [max(0.0, base * WEEK[day % 7] * chance.gauss(1, noise)) for day in range(days)]


def of(amounts: list[float], *, over: int = 10, left: float = 20, limit: float | None = None) -> Forecast:
    """The forecast for a period of which so many days are over and so many left."""
    history = History(START, DAY, amounts)
    begin, end = history.end - over * DAY, history.end + left * DAY
    return forecast(history, begin=begin, end=end, used=sum(amounts[-over:]), limit=limit)


def test_against_what_came_it_beats_the_linear_pace_and_its_bounds_hold_as_often_as_they_say() -> None:
    error = pace_error = 0.0
    held = 0
    for seed in range(0, 40, 3):
        days, over = 24 + seed, 3 + seed % 18
        left = 30 - over
        amounts = weeks(days + left, seed)
        told = of(amounts[:days], over=over, left=left)
        used = sum(amounts[days - over : days])
        came = used + sum(amounts[days:])
        assert told.basis == "season"
        error += abs(told.expected - came) / came
        pace_error += abs(used / over * 30 - came) / came
        held += told.low <= came <= told.high
    assert error < 0.6 * pace_error
    assert 9 <= held <= 13  # eight of ten, give or take what chance does to fourteen


@settings(max_examples=30, deadline=None)
@given(AMOUNTS, st.integers(1, 31), st.floats(0, 31), st.none() | st.floats(0, 1e13))
def test_it_is_never_below_what_is_used_and_its_bounds_lie_around_it(
    amounts: list[float], over: int, left: float, limit: float | None
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = of(amounts, over=over, left=left, limit=limit)
    used = sum(amounts[-over:])
    slack = 1e-9 * (1 + told.high)
    assert used - slack <= told.low <= told.expected <= told.high
    assert told == of(amounts, over=over, left=left, limit=limit)
    assert all(0 <= point.low <= point.expected <= point.high for point in told.points)
    assert abs(used + sum(point.expected for point in told.points) - told.expected) <= slack
    now = START + DAY * len(amounts)
    if told.reaches_limit_at is not None:
        assert limit is not None
        assert told.expected + slack >= limit
        assert now <= told.reaches_limit_at <= now + left * DAY + timedelta(milliseconds=1)
    elif limit is not None:
        assert told.expected <= limit + slack


def test_it_names_the_day_on_which_a_limit_is_reached() -> None:
    told = of([70.0, 70, 70, 70, 70, 0, 0] * 4, over=7, left=14, limit=350 + 70 * 3.5)
    assert told.reaches_limit_at is not None
    assert abs(told.reaches_limit_at - (START + 31.5 * DAY)) < timedelta(hours=1)
    assert told.expected == pytest.approx(1050, rel=0.01)


@pytest.mark.parametrize("days", [1, 5, 20])
def test_with_too_little_history_it_goes_on_at_the_pace_between_wide_bounds_and_says_so(days: int) -> None:
    told = of([10.0] * days, over=days, left=10)
    used = 10 * days
    assert (told.basis, told.expected) == ("pace", used + 100)
    assert (told.low, told.high) == (used + 50, used + 200)


def test_days_before_the_first_use_are_no_history() -> None:
    assert of([0.0] * 60 + [10.0] * 5, over=5, left=10).basis == "pace"
    assert of([0.0] * 60, left=10).high == 0


def test_hours_are_learnt_like_days() -> None:
    amounts = [100.0 if 8 <= hour % 24 < 18 else 0.0 for hour in range(24 * 5)]
    history = History(START, HOUR, amounts)
    told = forecast(history, begin=history.end, end=history.end + 7.5 * HOUR, used=0, limit=50)
    assert told.basis == "season"
    assert told.expected < 50
    assert told.reaches_limit_at is None


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_what_is_no_amount_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        of([1.0, wrong])
    with pytest.raises(ValueError, match="hour or a day"):
        forecast(History(START, 2 * DAY, []), begin=START, end=START, used=0)


def test_the_web_process_never_loads_the_library() -> None:
    load = (
        "import sys, digitalme.asgi, digitalme.urls, usage.forecast, usage.tasks, digitalme.forecasts.tasks\n"
        "from django.urls import get_resolver\n"
        "assert get_resolver().url_patterns\n"
        "heavy = {'numpy', 'scipy', 'pandas', 'statsmodels'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", load], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
