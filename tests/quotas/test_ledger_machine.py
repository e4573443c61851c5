"""The ledger as a state machine: whatever happens, used = settled + held, and never beyond what is allowed."""

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from digitalme.accounts.models import User
from digitalme.statements import ask
from quotas import known, ledger, limits
from quotas.ledger import Amounts, Granted
from quotas.models import Allocation, Lease, Limit
from tests.quotas.conftest import NOW, at_full_speed, hold, reserve, settle, sweep

REQUESTS, TOKENS = 5, 1_000
PEOPLE = ("dana", "emil")


class LedgerMachine(RuleBasedStateMachine):
    """Two people, tight limits, and calls that end in every way there is."""

    def __init__(self) -> None:
        super().__init__()

        Lease.objects.all().delete()
        User.objects.all().delete()
        known.forget()
        self.now = NOW
        self.running: dict[object, tuple[User, Amounts]] = {}
        self.settled: Counter[tuple[object, str]] = Counter()
        self.more: Counter[str] = Counter()
        self.people = {name: User.objects.create_user(f"{name}@example.com") for name in PEOPLE}
        for user in self.people.values():
            limits.set_allocation(actor=None, user=user, provider="", type="daily", requests=REQUESTS, now=NOW)
            limits.set_allocation(actor=None, user=user, provider="", type="monthly", tokens=TOKENS, now=NOW)
        Limit.objects.update(rollover_percent=0)  # which test_rollover.py is about
        at_full_speed()

    @rule(calls=st.lists(st.tuples(st.sampled_from(PEOPLE), st.integers(0, 600)), min_size=1, max_size=6))
    def reserve_a_batch(self, calls: list[tuple[str, int]]) -> None:
        holds = [hold(self.people[name], estimate=Amounts(1, tokens, tokens)) for name, tokens in calls]
        for call, outcome in zip(holds, reserve(holds, self.now), strict=True):
            user = next(user for user in self.people.values() if user.id == call.user_id)
            requests, tokens = self._used(user)
            allowed = REQUESTS + self.more[user.email.partition("@")[0]]
            fits = requests + 1 <= allowed and tokens + call.estimate.tokens <= TOKENS
            assert isinstance(outcome, Granted) == fits
            if fits:
                self.running[call.request_id] = user, call.estimate

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 100), share=st.floats(0, 1), again=st.booleans())
    def settle_one(self, which: int, share: float, again: bool) -> None:
        request_id = list(self.running)[which % len(self.running)]
        user, held = self.running.pop(request_id)
        actual = Amounts(1, int(held.tokens * share), int(held.cost * share))
        assert settle(request_id, actual).found  # type: ignore[arg-type]
        if again:
            assert not settle(request_id, actual).found  # type: ignore[arg-type]
        self._count(user, actual)

    @rule(name=st.sampled_from(PEOPLE))
    def raise_a_limit(self, name: str) -> None:
        """It takes effect at once, and what is used stays used."""
        self.more[name] += 1
        requests = REQUESTS + self.more[name]
        user = self.people[name]
        limits.set_allocation(actor=None, user=user, provider="", type="daily", requests=requests, now=self.now)

    @rule()
    def begin_a_new_month(self) -> None:
        """What runs is settled where it was booked; the new periods begin with nothing used, for everybody."""
        following = (self.now + timedelta(days=32)).replace(day=1)
        for request_id in list(self.running):
            self.running.pop(request_id)
            assert settle(request_id, Amounts(), following).found  # type: ignore[arg-type]
        self.now = following
        self.settled.clear()

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 100))
    def release_one(self, which: int) -> None:
        request_id = list(self.running)[which % len(self.running)]
        self.running.pop(request_id)
        settle(request_id, Amounts(), self.now)  # type: ignore[arg-type]

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 100))
    def expire_all_but_one(self, which: int) -> None:
        """A process dies: what nobody renewed is swept at its estimate."""
        kept = list(self.running)[which % len(self.running)]
        self.now += timedelta(seconds=45)
        ask(ledger.renew([kept], now=self.now))  # type: ignore[list-item]
        self.now += timedelta(seconds=30)
        expired = sweep(self.now)
        assert kept not in {one.request_id for one in expired}
        for one in expired:
            user, held = self.running.pop(one.request_id)
            assert held == one.reserved
            self._count(user, held)

    @invariant()
    def counters_are_settled_plus_held_and_within_limits(self) -> None:
        for user in self.people.values():
            requests, tokens = self._used(user)
            current = Allocation.objects.filter(user=user, binds="system", period_start__lte=self.now)
            for row in current.filter(period_end__gt=self.now).exclude(type="demo"):
                assert (row.used_requests, row.used_tokens) == (requests, tokens)
                assert row.used_requests <= (row.allowed_requests or requests)
                assert row.used_tokens <= (row.allowed_tokens or tokens)

    def _count(self, user: User, amounts: Amounts) -> None:
        self.settled[user.id, "requests"] += amounts.requests
        self.settled[user.id, "tokens"] += amounts.tokens

    def _used(self, user: User) -> tuple[int, int]:
        held = [amounts for owner, amounts in self.running.values() if owner == user]
        return (
            self.settled[user.id, "requests"] + sum(one.requests for one in held),
            self.settled[user.id, "tokens"] + sum(one.tokens for one in held),
        )


@pytest.mark.django_db
def test_the_ledger_keeps_its_invariant_whatever_happens() -> None:
    calm = settings(max_examples=15, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(LedgerMachine, settings=calm)
