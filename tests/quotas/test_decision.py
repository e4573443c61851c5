"""The pure decision: all or nothing, and never beyond what is allowed."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digitalme.database import uuid7
from quotas.decision import DIMENSIONS, AllocationState, Amounts, binds, decide, tightest

RESETS = datetime(2026, 3, 11, tzinfo=UTC)
COUNTS = st.integers(0, 10**12)
LIMITS = st.one_of(st.none(), COUNTS)


def state(
    allowed: tuple[int | None, int | None, int | None],
    used: tuple[int, int, int] = (0, 0, 0),
    *,
    kind: str = "daily",
    provider: str = "",
    bound: str = "system",
    is_active: bool = True,
) -> AllocationState:
    return AllocationState(uuid7(), uuid7(), provider, kind, bound, allowed, list(used), RESETS, is_active)


STATES = st.lists(st.builds(state, st.tuples(LIMITS, LIMITS, LIMITS), st.tuples(COUNTS, COUNTS, COUNTS)), max_size=5)
ESTIMATES = st.builds(Amounts, COUNTS, COUNTS, COUNTS)


def overruns(states: list[AllocationState], estimate: Amounts) -> bool:
    wanted = (estimate.requests, estimate.tokens, estimate.cost)
    return any(
        amount and allowed is not None and used + amount > allowed
        for one in states
        for allowed, used, amount in zip(one.allowed, one.used, wanted, strict=True)
    )


@settings(deadline=None)
@given(STATES, ESTIMATES)
def test_a_call_starts_exactly_if_no_limit_would_be_passed(states: list[AllocationState], estimate: Amounts) -> None:
    assert (decide(states, estimate) is not None) == overruns(states, estimate)


@settings(deadline=None)
@given(STATES, ESTIMATES)
def test_deciding_changes_nothing(states: list[AllocationState], estimate: Amounts) -> None:
    before = [list(one.used) for one in states]
    decide(states, estimate)
    assert [one.used for one in states] == before


@settings(deadline=None)
@given(STATES, ESTIMATES)
def test_the_refusing_limit_is_one_that_would_be_passed(states: list[AllocationState], estimate: Amounts) -> None:
    obstacle = decide(states, estimate)
    if obstacle:
        limit = obstacle.standing
        place = DIMENSIONS.index(limit.dimension)
        assert limit.used + getattr(estimate, limit.dimension) > limit.allowed
        assert obstacle.allocation in states
        assert (limit.allowed, limit.used) == (obstacle.allocation.allowed[place], obstacle.allocation.used[place])


@settings(deadline=None)
@given(STATES)
def test_the_tightest_limit_has_the_smallest_share_left(states: list[AllocationState]) -> None:
    shares = [
        (allowed - used) / allowed if allowed else 0.0
        for one in states
        for allowed, used in zip(one.allowed, one.used, strict=True)
        if allowed is not None
    ]
    found = tightest(states)
    assert (found is None) == (not shares)
    if found:
        assert (found.allowed - found.used) / (found.allowed or 1) == pytest.approx(min(shares), abs=1e-12) or (
            found.allowed == 0 and min(shares) == 0
        )
        assert found.remaining >= 0


def test_the_last_request_fits_and_the_next_does_not() -> None:
    assert decide([state((50, None, None), (49, 0, 0))], Amounts(1)) is None
    assert decide([state((50, None, None), (50, 0, 0))], Amounts(1)) is not None


def test_a_used_up_budget_does_not_refuse_what_costs_nothing() -> None:
    spent = state((None, None, 10), (0, 0, 10))
    assert decide([spent], Amounts(1, 100, 0)) is None
    assert decide([spent], Amounts(1, 100, 1)) is not None


@pytest.mark.parametrize(
    ("bound", "own_key", "counts"),
    [
        ("system", False, True),
        ("system", True, False),
        ("own", False, False),
        ("own", True, True),
        ("all", False, True),
        ("all", True, True),
    ],
)
def test_a_limit_counts_calls_on_the_keys_it_binds(bound: str, own_key: bool, counts: bool) -> None:
    assert binds(state((1, None, None), bound=bound), "openai", own_key) is counts


def test_a_limit_of_another_provider_or_one_that_is_switched_off_does_not_count() -> None:
    assert binds(state((1, None, None), provider="openai"), "openai", False)
    assert not binds(state((1, None, None), provider="anthropic"), "openai", False)
    assert not binds(state((1, None, None), is_active=False), "openai", False)
