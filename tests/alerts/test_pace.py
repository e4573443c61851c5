"""A monthly limit that will not last at its pace so far is told of once, early enough to do something."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitalme.accounts.models import User
from digitalme.alerts import pace, thresholds
from digitalme.alerts.pace import ends_at
from digitalme.forecasts.models import Forecast
from digitalme.notifications import inbox
from quotas import owners
from quotas.models import Allocation
from tests.alerts.test_thresholds import allocation

START, END = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def monthly(user: User, used: int, type_: str = "monthly") -> Allocation:
    row = allocation(owners.of_user(user.pk), type_, used_requests=used)
    Allocation.objects.filter(pk=row.pk).update(period_start=START, period_end=END)
    return row


def test_it_is_told_of_once_a_period_with_the_day(dana: User) -> None:
    row = monthly(dana, 60)
    now = START + 12 * DAY
    assert [pace.run(now=now), pace.run(now=now), pace.run(now=now + DAY)] == [1, 0, 0]
    (told,) = inbox.of(dana.pk)
    assert (told.kind, told.title) == ("forecast.over_limit", "At this pace your monthly limit lasts until 21 March")
    assert "60 % of it is used" in told.text
    assert "on Saturday, 21 March. It starts anew on 1 April at 00:00 (UTC)." in told.text
    assert thresholds.run(now=now) == 1  # the threshold is news of its own
    Allocation.objects.filter(pk=row.pk).update(used_requests=70)
    assert pace.run(now=now + DAY) == 0


def foresee(row: Allocation, reached: datetime | None, dimension: str = "requests", **facts: Any) -> None:
    Forecast.objects.create(
        **{"owner_id": row.owner_id, "user_id": row.user_id, "allocation_id": row.pk, "type": row.type},
        **{"dimension": dimension, "used": 60, "expected": 160, "low": 120, "high": 180, "basis": "season"},
        **{"period_start": START, "period_end": END, "made_at": START + 12 * DAY, "limit": 100, **facts},
        reaches_limit_at=reached,
    )


def test_a_forecast_says_it_better_than_the_pace(dana: User) -> None:
    User.objects.filter(pk=dana.pk).update(time_zone="Asia/Tokyo")
    row = monthly(dana, 60)
    foresee(row, None)
    assert pace.run(now=START + 12 * DAY) == 0
    foresee(row, datetime(2026, 3, 18, 20, tzinfo=UTC), "tokens")
    assert [pace.run(now=START + 12 * DAY), pace.run(now=START + 13 * DAY)] == [1, 0]
    (told,) = inbox.of(dana.pk)
    # It is Thursday already where dana lives.
    assert told.title == "At this pace your monthly limit lasts until 19 March"
    assert "If the coming days go like those of the past weeks, it is used up on Thursday, 19 March." in told.text


def test_a_forecast_of_the_day_before_is_none(dana: User) -> None:
    foresee(monthly(dana, 60), None, made_at=START + 10 * DAY)
    assert pace.run(now=START + 12 * DAY) == 1


@pytest.mark.parametrize(
    ("used", "day", "type_"),
    [
        (39, 12, "monthly"),
        (60, 2, "monthly"),
        (60, 26, "monthly"),
        (85, 12, "monthly"),
        (60, 12, "daily"),
        (9, 5, "monthly"),
    ],
)
def test_one_that_lasts_or_of_which_it_is_too_early_or_too_late_to_say_is_not(
    used: int, day: int, type_: str, dana: User
) -> None:
    monthly(dana, used, type_)
    assert pace.run(now=START + day * DAY) == 0


@pytest.mark.once
@given(st.integers(0, 120), st.integers(0, 31 * 24))
def test_the_end_lies_ahead_and_within_the_period(percent: int, hours: int) -> None:
    now = START + timedelta(hours=hours)
    at = ends_at(percent, START, END, now)
    if at is not None:
        assert now < at < END
        sooner = ends_at(percent + 1, START, END, now)
        assert percent + 1 >= pace.UNTIL_PERCENT or (sooner is not None and sooner < at)
