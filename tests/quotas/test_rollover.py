"""Unused allowance carries over: capped, for one period, used before it expires, and never twice."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digitalme.accounts.models import User
from quotas import allocations, known, limits, rollover
from quotas.ledger import Amounts
from quotas.models import Allocation, Limit
from quotas.policy import LimitSpec
from tests.quotas.conftest import NOW, at_full_speed, granted, hold, reserve, settle

TODAY, TOMORROW = datetime(2026, 3, 10, tzinfo=UTC), datetime(2026, 3, 11, tzinfo=UTC)
AMOUNTS = st.integers(0, 20_000)


def row(allowed: int, carried: int, used: int) -> Allocation:
    return Allocation(allowed_requests=allowed, rollover_requests=carried, used_requests=used)


@settings(deadline=None)
@given(AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, st.integers(0, 100))
def test_what_carries_over_is_left_of_the_own_allowance_and_capped(
    own: int, carried: int, used: int, limit: int, percent: int
) -> None:
    spec = LimitSpec("daily", "", "system", limit, None, None, rollover=percent)
    amount = rollover.carry(row(own + carried, carried, used), spec).get("requests", 0)
    assert isinstance(amount, int)
    assert 0 <= amount <= limit * percent // 100
    assert amount <= max(0, own - max(0, used - carried))
    assert limit + amount <= max(limit, 10_000)


@pytest.fixture
def rolling(dana: User) -> User:
    """Dana, with ten calls a day, of which half may carry over."""
    limits.set_allocation(actor=None, user=dana, provider="", type="daily", requests=10, now=NOW)
    Limit.objects.filter(user=dana).update(rollover_percent=50, buffer_percent=0)
    at_full_speed()
    return dana


def made(user: User, calls: int, now: datetime) -> int:
    return granted([hold(user) for _ in range(calls)], now).count(True)


def rows(user: User) -> list[tuple[int | None, int, int]]:
    found = Allocation.objects.filter(user=user, type="daily").order_by("period_start")
    return [(one.allowed_requests, one.used_requests, one.rollover_requests) for one in found]


def test_unused_calls_carry_over_for_one_day_and_are_used_first(rolling: User) -> None:
    assert made(rolling, 7, NOW) == 7
    assert made(rolling, 20, TOMORROW) == 13
    # The three came from the day before, whose allowance is three less by that; all of its own was used.
    assert rows(rolling) == [(7, 7, 0), (13, 13, 3)]
    assert made(rolling, 20, TOMORROW + timedelta(days=1)) == 10


def test_not_more_than_the_share_carries_over_and_not_from_the_day_before_last(rolling: User) -> None:
    assert made(rolling, 1, NOW) == 1
    assert made(rolling, 4, TOMORROW) == 4  # of the five that were carried over
    assert made(rolling, 20, TOMORROW + timedelta(days=1)) == 15
    assert rows(rolling) == [(5, 1, 0), (10, 4, 5), (15, 15, 5)]


def test_a_clock_that_goes_back_finds_nothing_that_was_carried_away(rolling: User) -> None:
    assert made(rolling, 7, NOW) == 7
    assert made(rolling, 1, TOMORROW) == 1
    known.forget()
    assert made(rolling, 5, TOMORROW - timedelta(seconds=1)) == 0
    assert made(rolling, 20, TOMORROW) == 12


def test_what_is_held_at_midnight_does_not_carry_over_and_is_settled_where_it_was_booked(rolling: User) -> None:
    call = hold(rolling)
    reserve([*(hold(rolling) for _ in range(6)), call], NOW)
    reserve([hold(rolling)], TOMORROW)
    settle(call.request_id, Amounts(), TOMORROW)
    assert rows(rolling) == [(7, 6, 0), (13, 1, 3)]


def test_the_job_changes_nothing_whether_it_runs_twice_or_not_at_all(rolling: User) -> None:
    assert made(rolling, 7, NOW) == 7
    for _ in range(2):
        allocations.prepare(now=TOMORROW - timedelta(minutes=5), ahead=timedelta(minutes=15))
    assert made(rolling, 2, TOMORROW - timedelta(minutes=1)) == 2
    assert made(rolling, 20, TOMORROW) == 11


def test_a_changed_limit_keeps_what_was_carried_over(rolling: User) -> None:
    made(rolling, 7, NOW)
    made(rolling, 1, TOMORROW)
    limits.set_allocation(actor=None, user=rolling, provider="", type="daily", requests=20, now=TOMORROW)
    assert rows(rolling)[-1] == (23, 1, 3)


def test_a_month_on_the_houses_keys_carries_over_half_of_it_by_default(dana: User) -> None:
    reserve([hold(dana, estimate=Amounts(1, 10_000, 10**9))], NOW)
    reserve([hold(dana)], datetime(2026, 4, 2, tzinfo=UTC))
    month = Allocation.objects.filter(user=dana, type="monthly").latest("period_start")
    assert (month.allowed_tokens, month.rollover_tokens) == (75_000, 25_000)
    assert (month.allowed_cost, month.rollover_cost) == (Decimal(15), Decimal(5))


def test_a_period_that_is_begun_again_gets_nothing_twice(rolling: User) -> None:
    made(rolling, 7, NOW)
    for _ in range(3):
        known.forget()
        made(rolling, 1, TOMORROW)
    assert rows(rolling) == [(7, 7, 0), (13, 3, 3)]
