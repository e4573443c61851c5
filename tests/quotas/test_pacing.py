"""Smart throttling: what is left lasts the period, nobody goes from full speed to nothing."""

import itertools
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from digitalme.accounts.models import User
from quotas import limits, pacing
from quotas.ledger import Amounts, Granted, Refused
from quotas.models import Limit
from tests.quotas.conftest import hold, reserve, settle

START = datetime(2026, 3, 10, tzinfo=UTC)
NOON = START + timedelta(hours=12)
END = START + timedelta(days=1)
MOMENTS = st.integers(0, 86_400_000_000 - 1).map(lambda after: START + timedelta(microseconds=after))
AMOUNTS = st.integers(1, 10**15)
PERCENT = st.integers(0, 100)


def wait(used: int, allowed: int, percent: int, now: datetime) -> timedelta:
    return pacing.wait(used, allowed, percent, now=now, starts_at=START, ends_at=END)


@settings(deadline=None)
@given(AMOUNTS, PERCENT, MOMENTS, st.integers(0, 10**15), st.integers(0, 10**15))
def test_who_used_more_waits_longer(allowed: int, percent: int, now: datetime, one: int, other: int) -> None:
    less, more = sorted((one, other))
    assert wait(less, allowed, percent, now) <= wait(more, allowed, percent, now)


@settings(deadline=None)
@given(AMOUNTS, AMOUNTS, PERCENT, MOMENTS, MOMENTS)
def test_who_comes_later_starts_no_earlier_and_waits_no_longer(
    used: int, allowed: int, percent: int, one: datetime, other: datetime
) -> None:
    early, late = sorted((one, other))
    assert wait(used, allowed, percent, late) <= wait(used, allowed, percent, early)
    assert early + wait(used, allowed, percent, early) <= late + wait(used, allowed, percent, late)


@settings(deadline=None)
@given(AMOUNTS, AMOUNTS, PERCENT, MOMENTS)
def test_a_wait_is_bounded_by_the_period_and_exact(used: int, allowed: int, percent: int, now: datetime) -> None:
    seconds = wait(used, allowed, percent, now)
    assert timedelta(0) <= seconds <= END - now
    if now + seconds < END:
        assert wait(used, allowed, percent, now + seconds) == timedelta(0)


@settings(deadline=None)
@given(st.integers(1, 10**6), st.integers(0, 99), MOMENTS, st.data())
def test_a_lone_caller_is_never_starved(allowed: int, percent: int, now: datetime, data: st.DataObject) -> None:
    """Whoever has room left gets on before the period ends; whoever is below the share at once."""
    used = data.draw(st.integers(0, allowed - 1))
    assert now + wait(used, allowed, percent, now) < END or now >= END - timedelta(microseconds=1)
    if used <= allowed * percent // 100:
        assert wait(used, allowed, percent, now) == timedelta(0)


def test_all_of_a_limit_can_be_used_by_its_end_and_never_a_jump() -> None:
    opens = [START + wait(used, 1_000, 80, START) for used in range(1_000)]
    assert opens[:801] == [START] * 801
    gaps = {later - earlier for earlier, later in itertools.pairwise(opens[800:])}
    assert gaps == {timedelta(minutes=7, seconds=12)}
    assert opens[-1] < END


def test_a_hundred_percent_slows_nobody() -> None:
    assert wait(999, 1_000, 100, START) == timedelta(0)


def test_beyond_the_share_a_call_waits_a_moment_and_then_is_told_the_exact_time(dana: User) -> None:
    limits.set_allocation(actor=None, user=dana, provider="", type="daily", requests=8_640, now=START)
    Limit.objects.filter(user=dana).update(pace_from=0)
    limits.hold_at_once([dana.id], now=START)
    # One call fits into each ten seconds.
    first, second = reserve([hold(dana), hold(dana)], START)
    assert isinstance(first, Granted)
    assert first.wait == 0
    assert isinstance(second, Refused)
    assert (second.wait, second.passing, second.scope, second.standing.type) == (10, False, "user", "daily")
    (waits,) = reserve([hold(dana)], START + timedelta(seconds=7))
    assert isinstance(waits, Granted)
    assert waits.wait == 3


def test_a_demo_is_not_slowed_unless_an_administrator_says_so(dana: User) -> None:
    assert all(isinstance(one, Granted) and not one.wait for one in reserve([hold(dana) for _ in range(50)], START))
    Limit.objects.filter(tier__is_default=True, type="demo").update(pace_from=50)
    outcomes = reserve([hold(dana, provider="anthropic") for _ in range(27)], START)
    assert [isinstance(one, Granted) for one in outcomes] == [True] * 26 + [False]


def test_what_running_calls_only_hold_slows_nobody(dana: User) -> None:
    """Of fifty thousand tokens a month nearly all are held, and next to none are used."""
    calls = [hold(dana, estimate=Amounts(1, 15_000, 0)) for _ in range(3)]
    reserve(calls, START)
    (outcome,) = reserve([hold(dana)], START)
    assert isinstance(outcome, Granted)
    assert outcome.wait == 0
    for call in calls:
        settle(call.request_id, Amounts(1, 15_000, 0), START)
    (refused,) = reserve([hold(dana)], START)
    assert isinstance(refused, Refused)
    assert refused.wait
    assert refused.standing.dimension == "tokens"
