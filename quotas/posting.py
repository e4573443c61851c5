"""What one transaction books: settlements first, then holds, on rows that are locked."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, cast
from uuid import UUID

from digitalme.accounts import standing as people
from digitalme.statements import Rows, Statement, Steps
from quotas import counters, emergencies, known, leases, owners
from quotas.decision import (
    AllocationState,
    Amounts,
    Obstacle,
    Standing,
    beyond,
    binds,
    decide,
    overspent,
    slowed,
    tightest,
)
from quotas.emergencies import Buffer, Use
from quotas.known import Caller, MissingPeriods
from quotas.leases import Hold
from quotas.models import HOUSE, WHOLE, Binds
from quotas.pacing import LONGEST_WAIT
from quotas.rows import moment, same_id

# The key source of a call that the house's key serves in place of an own one that failed.
FALLBACK = "fallback"


class Granted(NamedTuple):
    """A hold that is booked.

    `overspent` is a soft limit that is passed, `pool` the team whose pool the call draws on. It starts after
    `wait` seconds, at most pacing.LONGEST_WAIT; an `emergency` goes beyond a limit by its buffer.
    """

    request_id: UUID
    allocation_ids: tuple[UUID, ...]
    estimate: Amounts
    tightest: Standing | None
    overspent: Standing | None = None
    pool: UUID | None = None
    wait: float = 0.0
    emergency: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """A hold that a limit leaves no room for. `scope` says whose limit: user, team, member, token or house.

    `held` is the part of `standing.used` that running calls hold; if the call would fit without them, the
    refusal is `passing`: it may fit as soon as they end. `wait` is set where the limit has room but is used
    too fast: the call may start after that many seconds.
    """

    request_id: UUID
    standing: Standing
    scope: str
    held: int
    passing: bool
    own_key: bool
    wait: float | None = None


# What leases held and where, by request id.
Ended = dict[UUID, tuple[tuple[UUID, ...], Amounts]]


class Settlement(NamedTuple):
    """What a call really took."""

    request_id: UUID
    actual: Amounts


class Settled(NamedTuple):
    """`found` is False if the lease was gone: settled before, or swept."""

    request_id: UUID
    found: bool
    allocation_ids: tuple[UUID, ...] = ()


class _Denied(NamedTuple):
    """A hold that found no room, and where in the batch it stands."""

    place: int
    hold: Hold
    obstacle: Obstacle
    wait: float | None = None


@dataclass(frozen=True, slots=True)
class _Binding:
    """The allocations that count the calls of one user and token to one provider on one kind of key."""

    states: tuple[AllocationState, ...]
    ids: tuple[UUID, ...]
    soft: tuple[AllocationState, ...]
    paced: tuple[AllocationState, ...]


class Posting:
    """The locked rows of a transaction and what it books on them.

    Ask for `ledger.lock` to get one; what is settled first makes room for what is reserved then. Without
    rows it can only settle.
    """

    def __init__(self, rows: Rows = ()) -> None:
        self._rows: dict[UUID, AllocationState] = {}
        self._of_owners: dict[UUID, list[AllocationState]] = {}
        self._granted: list[tuple[Hold, tuple[UUID, ...]]] = []
        self._changes: list[tuple[Collection[UUID], Amounts]] = []
        self._emergencies: list[Use] = []
        for row in rows:
            state = self._rows[same_id(row[0])] = _state(row)
            if row[-1]:
                self._of_owners.setdefault(state.owner_id, []).append(state)

    def settle(self, settlements: Sequence[Settlement], ended: Ended) -> list[Settled]:
        """Replace what each lease held by what the call really took. Once: a second settlement finds no
        lease that has `ended` in this transaction."""
        left, settled = dict(ended), []
        for settlement in settlements:
            lease = left.pop(settlement.request_id, None)
            if lease is None:
                settled.append(Settled(settlement.request_id, found=False))
                continue
            ids, reserved = lease
            self.adjust(ids, settlement.actual - reserved)
            settled.append(Settled(settlement.request_id, True, ids))
        return settled

    def adjust(self, allocation_ids: Collection[UUID], difference: Amounts) -> None:
        """Add a difference to the counters of these allocations."""
        self._changes.append((allocation_ids, difference))
        for one in allocation_ids:
            if state := self._rows.get(one):
                _add(state, difference)

    def reserve(self, holds: Sequence[Hold], *, now: datetime) -> Steps[list[Granted | Refused]]:
        """Book each hold on all allocations that bind its call, or refuse it; in order, all or nothing.

        What a user's own allowance has no room for is drawn from the pool of a team, if there is one; a
        critical call may go beyond a limit by its buffer. Where a limit is used too fast, the call is to wait.
        Raises MissingPeriods before anything is booked if a row that must bind a call is not there;
        then call `ensure_periods` outside of the transaction and try again.
        """
        # A token is one user's; to look at one id less for each call tells in a crowd.
        callers = [(one.token_id or one.user_id, one.provider, one.key_source, one.team_id) for one in holds]
        alike = dict(zip(callers, holds, strict=True))
        self._check_periods(alike.values(), now)
        bindings = {caller: self._binding(hold) for caller, hold in alike.items()}
        outcomes: list[Granted | Refused | None] = []
        denied: list[_Denied] = []
        for place, (caller, hold) in enumerate(zip(callers, holds, strict=True)):
            binding, estimate = bindings[caller], hold.estimate
            obstacle = decide(binding.states, estimate)
            slow = slowed(binding.paced, estimate, now) if binding.paced and obstacle is None else None
            if obstacle is not None:
                outcomes.append(None)
                denied.append(_Denied(place, hold, obstacle))
            elif slow is None and not binding.soft:
                # What nearly every call is, without a detour.
                for state in binding.states:
                    _add(state, estimate)
                self._granted.append((hold, binding.ids))
                outcomes.append(Granted(hold.request_id, binding.ids, estimate, tightest(binding.states)))
            elif slow is not None and (hold.critical or slow.seconds > LONGEST_WAIT or slow.by_estimate):
                outcomes.append(None)
                denied.append(_Denied(place, hold, slow.obstacle, slow.seconds))
            else:
                outcomes.append(self._grant(hold, binding, wait=slow.seconds if slow else 0.0))
        if denied:
            yield from self._look_further(denied, outcomes, now)
        return cast("list[Granted | Refused]", outcomes)

    def _grant(
        self, hold: Hold, binding: _Binding, pool: UUID | None = None, *, wait: float = 0.0, emergency: bool = False
    ) -> Granted:
        for state in binding.states:
            _add(state, hold.estimate)
        self._granted.append((hold, binding.ids))
        passed = overspent(binding.soft) if binding.soft else None
        return Granted(
            hold.request_id, binding.ids, hold.estimate, tightest(binding.states), passed, pool, wait, emergency
        )

    def _binding(self, hold: Hold) -> _Binding:
        states = self._of_owners.get(hold.user_id, ())
        return _bound([*(one for one in states if _counts(one, hold)), *self._caps(hold)])

    def _caps(self, hold: Hold) -> Iterator[AllocationState]:
        """Yield what binds a call whoever's allowance it takes: the token's cap, the house's, and a team's
        budget for calls on the team's key."""
        of = [hold.token_id, HOUSE if _house_pays(hold) else hold.team_id]
        for owner in of:
            for state in self._of_owners.get(owner, ()) if owner else ():
                if _counts(state, hold):
                    yield state

    def _pool(self, hold: Hold, team: UUID) -> _Binding | None:
        """Return the allocations that a call on the house's key is counted in instead, or None if this team
        has no pool."""
        pool = [one for one in self._of_owners.get(team, ()) if _counts(one, hold)]
        if not pool:
            return None
        member = self._of_owners.get(owners.of_member(team, hold.user_id).id, ())
        kept = [
            one for one in self._of_owners.get(hold.user_id, ()) if one.binds in _WHOEVER_PAYS and _counts(one, hold)
        ]
        return _bound([*pool, *(one for one in member if _counts(one, hold)), *kept, *self._caps(hold)])

    def _look_further(
        self, denied: Sequence[_Denied], outcomes: list[Granted | Refused | None], now: datetime
    ) -> Steps[None]:
        """Draw on a team's pool what found no room otherwise, then on the emergency buffer; explain the rest."""
        users = {one.hold.user_id for one in denied}
        shared = any(one.obstacle.allocation.owner_id not in (one.hold.user_id, one.hold.token_id) for one in denied)
        critical = {state for one in denied if one.hold.critical for state in self._binding(one.hold).ids}
        held, teams, *found = yield [
            leases.held_per_allocation(None if shared else users),
            people.teams_of(users),
            *([emergencies.buffers(critical)] if critical else []),
        ]
        self._check_teams(denied, teams)
        running = leases.together(held, self._booked())
        remaining = []
        for place in range(len(denied)):
            one = self._looked_at_again(denied[place], running, now)
            granted = None if one.wait is None else self._after_a_moment(one)
            granted = granted or self._from_a_pool(one.hold, teams.get(one.hold.user_id, ()), now)
            granted = granted or self._in_an_emergency(one, found[0] if found else {})
            outcomes[one.place] = granted
            if granted is None:
                remaining.append(one)
        self._explain(remaining, running, outcomes)

    def _booked(self) -> dict[UUID, Amounts]:
        return leases.sums((ids, hold.estimate) for hold, ids in self._granted)

    def _looked_at_again(self, one: _Denied, running: Mapping[UUID, Amounts], now: datetime) -> _Denied:
        """Say how long a call waits where it is known what running calls only hold."""
        if one.wait is None:
            return one
        binding = self._binding(one.hold)
        if obstacle := decide(binding.states, one.hold.estimate):
            return one._replace(obstacle=obstacle, wait=None)  # others of this batch took the room meanwhile
        slow = slowed(binding.paced, one.hold.estimate, now, running)
        return one._replace(obstacle=slow.obstacle, wait=slow.seconds) if slow else one._replace(wait=0.0)

    def _after_a_moment(self, one: _Denied) -> Granted | None:
        """Let a call start that waits no longer than a moment, and a critical one that need not wait at all."""
        wait = one.wait or 0.0
        if wait > LONGEST_WAIT or (one.hold.critical and wait):
            return None
        return self._grant(one.hold, self._binding(one.hold), wait=wait)

    def _in_an_emergency(self, denied: _Denied, buffers: dict[UUID, Buffer]) -> Granted | None:
        """Let a critical call go beyond limits, or on without waiting, and count that it did. One that would only
        have to wait for a moment waits where no use is left."""
        hold = denied.hold
        if not hold.critical:
            return None
        binding = self._binding(hold)
        usable = {one: buffer.percent for one, buffer in buffers.items() if buffer.percent and buffer.left > 0}
        passed = beyond(binding.states, hold.estimate, usable)
        if passed is None:
            return None
        if not passed and denied.wait is not None and denied.obstacle.allocation.id in usable:
            passed = [denied.obstacle.allocation]
        if not passed:
            short = denied.wait is not None and denied.wait <= LONGEST_WAIT
            return self._grant(hold, binding, wait=denied.wait or 0.0) if short else None
        for state in passed:
            buffers[state.id] = buffers[state.id]._replace(left=buffers[state.id].left - 1)
        first = passed[0]
        ids = tuple(state.id for state in passed)
        self._emergencies.append(Use(hold.request_id, hold.user_id, ids, first.type, first.provider))
        return self._grant(hold, binding, emergency=True)

    def _check_teams(self, denied: Sequence[_Denied], teams: Mapping[UUID, Collection[UUID]]) -> None:
        """Raise MissingPeriods where somebody joined a team whose rows are not locked therefore."""
        strangers = set()
        for _, hold, *_ in denied:
            caller = _caller(hold)
            locked = known.teams_of(caller.place)
            if not set(teams.get(hold.user_id, ())) <= set(locked):
                known.forget_place(caller.place)
                strangers.add(caller)
        if strangers:
            raise MissingPeriods(strangers)

    def _from_a_pool(self, hold: Hold, teams: Iterable[UUID], now: datetime) -> Granted | None:
        for team in teams if _house_pays(hold) else ():
            binding = self._pool(hold, team)
            if binding is None or decide(binding.states, hold.estimate) is not None:
                continue
            slow = slowed(binding.paced, hold.estimate, now)
            if slow is None or slow.seconds <= LONGEST_WAIT:
                return self._grant(hold, binding, team, wait=slow.seconds if slow else 0.0)
        return None

    def _explain(
        self, denied: Sequence[_Denied], running: Mapping[UUID, Amounts], outcomes: list[Granted | Refused | None]
    ) -> None:
        """Say whose limit it is, and how much of it is only held by running calls, this batch's included."""
        for place, hold, obstacle, wait in denied:
            limit, of = obstacle.standing, obstacle.allocation
            amount = getattr(running.get(of.id, _NOTHING), limit.dimension)
            fits = limit.used - amount + getattr(hold.estimate, limit.dimension) <= limit.allowed
            own = not _house_pays(hold)
            passing = wait is None and fits
            outcomes[place] = Refused(hold.request_id, limit, _scope(of, hold), amount, passing, own, wait)

    def _check_periods(self, holds: Iterable[Hold], now: datetime) -> None:
        there = {(one.owner_id, one.type, one.provider) for some in self._of_owners.values() for one in some}
        missing = set()
        for hold in holds:
            caller, team = _caller(hold), hold.team_id
            expected = known.expected(caller.place, now)
            # Whoever joined the team meanwhile calls with its key before its rows are known.
            stranger = team is not None and expected is not None and team not in expected.teams
            if expected is None or stranger or not expected.rows <= there:
                known.forget_place(caller.place)
                missing.add(caller)
        if missing:
            raise MissingPeriods(missing)

    def writes(self, *, now: datetime) -> list[Statement[Any]]:
        """Return what writes all of it down."""
        booked = [(ids, hold.estimate) for hold, ids in self._granted]
        changes = leases.sums([*self._changes, *booked])
        written = counters.add(changes, lock=not changes.keys() <= self._rows.keys())
        if self._granted:
            written.append(leases.insert(self._granted, now))
        return [*written, *emergencies.writes(self._emergencies, now)]


def _add(state: AllocationState, amounts: Amounts) -> None:
    state.used[0] += amounts.requests
    state.used[1] += amounts.tokens
    state.used[2] += amounts.cost


_NOTHING = Amounts()
# What counts a call on the house's key whether the own allowance or a team's pool pays for it.
_WHOEVER_PAYS = (Binds.ALL, Binds.FALLBACK)
COLUMNS = (
    "id, owner_id, provider, type, binds, allowed_requests, allowed_tokens, allowed_cost,"
    " used_requests, used_tokens, used_cost, period_end, is_active, soft, pace_from, period_start"
)


def _state(row: tuple[Any, ...]) -> AllocationState:
    return AllocationState(
        id=same_id(row[0]),
        owner_id=same_id(row[1]),
        provider=row[2],
        type=row[3],
        binds=row[4],
        allowed=(row[5], row[6], row[7]),
        used=[row[8], row[9], row[10]],
        resets_at=moment(row[11]),
        is_active=bool(row[12]),
        soft=bool(row[13]),
        pace_from=row[14],
        starts_at=moment(row[15]),
    )


def _caller(hold: Hold) -> Caller:
    return Caller(hold.user_id, hold.provider, hold.time_zone, hold.token_id)


def _counts(state: AllocationState, hold: Hold) -> bool:
    return binds(state, hold.provider, not _house_pays(hold), hold.key_source == FALLBACK)


def _house_pays(hold: Hold) -> bool:
    return hold.key_source in ("system", FALLBACK)


def _bound(states: Sequence[AllocationState]) -> _Binding:
    soft = tuple(state for state in states if state.soft)
    paced = tuple(state for state in states if state.pace_from < WHOLE and not state.soft)
    return _Binding(tuple(states), tuple(state.id for state in states), soft, paced)


def _scope(state: AllocationState, hold: Hold) -> str:
    if state.owner_id in (hold.user_id, hold.token_id):
        return owners.USER if state.owner_id == hold.user_id else owners.TOKEN
    return owners.OF_HOUSE if state.owner_id == HOUSE else owners.TEAM
