"""The ledger as a state machine: whatever happens, used = settled + held, and never beyond what is allowed; and what
is given is neither lost nor made."""

from collections import Counter
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from digitalme.accounts.models import Membership, Team, User
from digitalme.errors import DigitalMeError
from digitalme.statements import ask
from quotas import gifts, known, ledger, limits, owners, raises
from quotas.ledger import Amounts, Granted
from quotas.models import Allocation, Gift, Lease, Limit
from tests.quotas.conftest import NOW, at_full_speed, hold, reserve, settle, sweep

REQUESTS, TOKENS, POOL = 5, 1_000, 3
PEOPLE = ("dana", "emil")


class LedgerMachine(RuleBasedStateMachine):
    """Two people with tight limits, a team with a pool, and calls that end in every way there is."""

    def __init__(self) -> None:
        super().__init__()

        Lease.objects.all().delete()
        Team.objects.all().delete()
        User.objects.all().delete()
        known.forget()
        self.now = NOW
        self.running: dict[object, tuple[User | Team, Amounts]] = {}
        self.settled: Counter[tuple[object, str]] = Counter()
        self.more: Counter[str] = Counter()
        self.given: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        self.people = {name: User.objects.create_user(f"{name}@example.com") for name in PEOPLE}
        self.team, self.members = Team.objects.create(slug="crew", name="Crew"), set[str]()
        Limit.objects.bulk_create(
            [
                *(Limit(user=user, type="daily", requests=REQUESTS) for user in self.people.values()),
                *(Limit(user=user, type="monthly", tokens=TOKENS) for user in self.people.values()),
                Limit(team=self.team, type="daily", requests=POOL),
            ]
        )
        for name in PEOPLE:
            self.join_or_leave(name)
        Limit.objects.update(rollover_percent=0)  # which test_rollover.py is about
        at_full_speed()

    @rule(calls=st.lists(st.tuples(st.sampled_from(PEOPLE), st.integers(0, 600)), min_size=1, max_size=6))
    def reserve_a_batch(self, calls: list[tuple[str, int]]) -> None:
        holds = [hold(self.people[name], estimate=Amounts(1, tokens, tokens)) for name, tokens in calls]
        for call, outcome in zip(holds, reserve(holds, self.now), strict=True):
            name, user = next((name, user) for name, user in self.people.items() if user.id == call.user_id)
            requests, tokens = self._used(user)
            fits = requests + 1 <= self._allowed(name) and tokens + call.estimate.tokens <= TOKENS
            drawn = not fits and name in self.members and self._used(self.team)[0] < POOL
            assert isinstance(outcome, Granted) == (fits or drawn)
            if isinstance(outcome, Granted):
                assert outcome.pool == (self.team.pk if drawn else None)
                self.running[call.request_id] = self.team if drawn else user, call.estimate

    @rule(name=st.sampled_from(PEOPLE))
    def join_or_leave(self, name: str) -> None:
        """Who leaves draws on the pool no more; what runs is settled where it was booked."""
        if name in self.members:
            Membership.objects.filter(user=self.people[name]).delete()
        else:
            Membership.objects.create(team=self.team, user=self.people[name])
        self.members ^= {name}

    @rule(name=st.sampled_from(PEOPLE), requests=st.integers(1, 4))
    def give_some(self, name: str, requests: int) -> None:
        """It is moved if both belong to the team, enough is left of the own, and the other did not get too much."""
        other = next(one for one in PEOPLE if one != name)
        own = REQUESTS + self.more[name]
        left = min(self._allowed(name) - self._used(self.people[name])[0], own - self.given[name])
        room = REQUESTS + self.more[other] - self.received[other]
        before = Gift.objects.count()
        with suppress(DigitalMeError):
            to = owners.of_user(self.people[other].id)
            wanted = raises.Amounts(requests)
            gifts.give(actor=self.people[name], to=to, type="daily", provider="", amounts=wanted, now=self.now)
        moved = Gift.objects.count() - before
        assert moved == (self.members == set(PEOPLE) and requests <= min(left, room))
        self.given[name] += moved * requests
        self.received[other] += moved * requests

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
        for counter in (self.settled, self.given, self.received):
            counter.clear()

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
        current = Allocation.objects.filter(binds="system", period_start__lte=self.now, period_end__gt=self.now)
        for row in current.filter(owner_id=self.team.pk):
            assert (row.used_requests, row.used_tokens) == self._used(self.team)
            assert row.used_requests <= POOL
        for name, user in self.people.items():
            requests, tokens = self._used(user)
            for row in current.filter(owner_id=user.id).exclude(type="demo"):
                assert (row.used_requests, row.used_tokens) == (requests, tokens)
                assert row.allowed_requests in (None, self._allowed(name))
                assert row.used_requests <= (requests if row.allowed_requests is None else row.allowed_requests)
                assert row.used_tokens <= (row.allowed_tokens or tokens)

    def _allowed(self, name: str) -> int:
        return REQUESTS + self.more[name] + self.received[name] - self.given[name]

    def _count(self, user: User | Team, amounts: Amounts) -> None:
        self.settled[user.id, "requests"] += amounts.requests
        self.settled[user.id, "tokens"] += amounts.tokens

    def _used(self, user: User | Team) -> tuple[int, int]:
        held = [amounts for owner, amounts in self.running.values() if owner == user]
        return (
            self.settled[user.id, "requests"] + sum(one.requests for one in held),
            self.settled[user.id, "tokens"] + sum(one.tokens for one in held),
        )


@pytest.mark.django_db
def test_the_ledger_keeps_its_invariant_whatever_happens() -> None:
    calm = settings(max_examples=12, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(LedgerMachine, settings=calm)
