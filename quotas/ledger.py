"""Reserve before a call, settle after it: the counters that no call escapes.

All but `ensure_periods` is a part of its caller's transaction (digitalme.statements): what must be known
is asked first, then it is reckoned, then what writes it down is handed to the caller, who can so send it
together with statements of its own. Locks are taken in one order everywhere, leases before
allocations and allocations by id, so that processes cannot wait for one another in a circle.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from digitalme.database import among, array, flatten, on_sqlite, parameters, rows_of_placeholders
from digitalme.statements import Rows, Statement, Steps
from quotas import known, leases
from quotas.decision import AllocationState, Amounts, Obstacle, Standing, binds, decide, tightest
from quotas.known import MissingPeriods, ensure_periods
from quotas.leases import LEASE_SECONDS, RENEW_SECONDS, Hold, LeaseFacts, expired, renew
from quotas.rows import moment, same_id

__all__ = [
    "LEASE_SECONDS",
    "RENEW_SECONDS",
    "Amounts",
    "Granted",
    "Hold",
    "LeaseFacts",
    "MissingPeriods",
    "Posting",
    "Refused",
    "Settled",
    "Settlement",
    "Standing",
    "end",
    "ensure_periods",
    "expired",
    "lock",
    "renew",
]


class Granted(NamedTuple):
    """A hold that is booked."""

    request_id: UUID
    allocation_ids: tuple[UUID, ...]
    estimate: Amounts
    tightest: Standing | None


@dataclass(frozen=True, slots=True)
class Refused:
    """A hold that a limit leaves no room for. `held` is the part of `standing.used` that running calls hold."""

    request_id: UUID
    standing: Standing
    held: int
    advice: str


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


def lock(places: Collection[tuple[UUID, str]], *, beside: Collection[UUID] = (), now: datetime) -> "Statement[Posting]":
    """Lock the current rows of all these (user id, provider), and those `beside` them by id, in the order
    of their ids; read them as a posting to settle and reserve in."""
    of_users, users = among({user for user, _ in places})
    for_providers, providers = among({"", *(provider for _, provider in places)})
    these, ids = among(beside)
    begin = parameters([now, now])
    return Statement(
        f"SELECT {_COLUMNS}, period_start <= %s AND period_end > %s FROM quotas_allocation"  # noqa: S608 (constants)
        f" WHERE (user_id {of_users} AND provider {for_providers} AND period_start <= %s AND period_end > %s)"
        f" OR id {these} ORDER BY id{_for_update()}",
        [*begin, *users, *providers, *begin, *ids],
        Posting,
    )


def end(request_ids: Collection[UUID]) -> Statement[Ended]:
    """End leases, to be settled; read the allocations and amounts of those that were there."""
    return leases.delete(request_ids)


class Posting:
    """The locked rows of a transaction and what it books on them.

    Ask for `lock` to get one; what is settled first makes room for what is reserved then. Without rows
    it can only settle.
    """

    def __init__(self, rows: Rows = ()) -> None:
        self._rows: dict[UUID, AllocationState] = {}
        self._of_users: dict[UUID, list[AllocationState]] = {}
        self._granted: list[tuple[Hold, tuple[UUID, ...]]] = []
        self._changes: list[tuple[Collection[UUID], Amounts]] = []
        for row in rows:
            state = self._rows[same_id(row[0])] = _state(row)
            if row[-1]:
                self._of_users.setdefault(state.user_id, []).append(state)

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

        Raises MissingPeriods before anything is booked if a row that must bind a call is not there;
        then call `ensure_periods` outside of the transaction and try again.
        """
        _check_periods(holds, self._of_users, now)
        bindings: dict[tuple[UUID, str, bool], _Binding] = {}
        outcomes: list[Granted | Refused] = []
        refused: list[tuple[int, Hold, Obstacle]] = []
        for place, hold in enumerate(holds):
            key = hold.user_id, hold.provider, hold.key_source != "system"
            binding = bindings.get(key)
            if binding is None:
                binding = bindings[key] = _binding(self._of_users.get(hold.user_id, ()), hold.provider, key[2])
            obstacle = decide(binding.states, hold.estimate)
            if obstacle is None:
                for state in binding.states:
                    _add(state, hold.estimate)
                outcomes.append(Granted(hold.request_id, binding.ids, hold.estimate, tightest(binding.states)))
                self._granted.append((hold, binding.ids))
            else:
                outcomes.append(Refused(hold.request_id, obstacle.standing, 0, ""))
                refused.append((place, hold, obstacle))
        if refused:
            (held,) = yield [leases.held_per_allocation({hold.user_id for _, hold, _ in refused})]
            self._explain(refused, held, outcomes)
        return outcomes

    def _explain(
        self,
        refused: Sequence[tuple[int, Hold, Obstacle]],
        held: Mapping[UUID, Amounts],
        outcomes: list[Granted | Refused],
    ) -> None:
        """Say how much of a refusing limit is only held by running calls, this batch's included, and what
        to do."""
        booked = leases.sums((ids, hold.estimate) for hold, ids in self._granted)
        for place, hold, obstacle in refused:
            limit, of = obstacle.standing, obstacle.allocation.id
            amount = sum(getattr(some.get(of, _NOTHING), limit.dimension) for some in (held, booked))
            outcomes[place] = Refused(hold.request_id, limit, amount, _advice(hold.key_source != "system"))

    def writes(self, *, now: datetime) -> list[Statement[Any]]:
        """Return what writes all of it down."""
        booked = [(ids, hold.estimate) for hold, ids in self._granted]
        changes = leases.sums([*self._changes, *booked])
        written = _raise_counters(changes, lock=not changes.keys() <= self._rows.keys())
        return [*written, leases.insert(self._granted, now)] if self._granted else written


def _add(state: AllocationState, amounts: Amounts) -> None:
    state.used[0] += amounts.requests
    state.used[1] += amounts.tokens
    state.used[2] += amounts.cost


_NOTHING = Amounts()
_COLUMNS = (
    "id, user_id, provider, type, binds, allowed_requests, allowed_tokens, allowed_cost,"
    " used_requests, used_tokens, used_cost, period_end, is_active"
)


def _state(row: tuple[Any, ...]) -> AllocationState:
    return AllocationState(
        id=same_id(row[0]),
        user_id=same_id(row[1]),
        provider=row[2],
        type=row[3],
        binds=row[4],
        allowed=(row[5], row[6], row[7]),
        used=[row[8], row[9], row[10]],
        resets_at=moment(row[11]),
        is_active=bool(row[12]),
    )


def _check_periods(holds: Sequence[Hold], states: Mapping[UUID, Sequence[AllocationState]], now: datetime) -> None:
    there = {user: {(state.type, state.provider) for state in of_user} for user, of_user in states.items()}
    missing = set()
    for user, provider, zone in {(hold.user_id, hold.provider, hold.time_zone) for hold in holds}:
        expected = known.expected(user, provider, now)
        if expected is None or not expected <= there.get(user, set()):
            known.forget(user, provider)
            missing.add((user, provider, zone))
    if missing:
        raise MissingPeriods(missing)


@dataclass(frozen=True, slots=True)
class _Binding:
    """The allocations that count the calls of one user to one provider on one kind of key."""

    states: tuple[AllocationState, ...]
    ids: tuple[UUID, ...]


def _binding(states: Sequence[AllocationState], provider: str, own_key: bool) -> _Binding:
    found = tuple(state for state in states if binds(state, provider, own_key))
    return _Binding(found, tuple(state.id for state in found))


def _advice(own_key: bool) -> str:
    if own_key:
        return "Wait until then, or ask the administrator for more."
    return "Wait until then, add your own key to go on at once, or ask the administrator for more."


def _raise_counters(changes: Mapping[UUID, Amounts], *, lock: bool) -> list[Statement[Any]]:
    """Add to the counters of rows, in one statement; lock them by id first unless they are locked already."""
    rows = [(one, total.requests, total.tokens, total.cost) for one, total in changes.items() if total != _NOTHING]
    if not rows:
        return []
    if on_sqlite():
        values = f"VALUES {rows_of_placeholders(len(rows), 4)}"
        return [Statement(_RAISE.format(given=f"({values}) AS given"), parameters(flatten(rows)))]
    # A single row needs no order: its update locks it.
    statement = _LOCK_AND_RAISE if lock and len(rows) > 1 else _RAISE_LOCKED
    return [Statement(statement, [array(column) for column in zip(*rows, strict=True)])]


# `given` has four columns: id, requests, tokens, cost. SQLite names them itself.
_RAISE = (
    "UPDATE quotas_allocation SET used_requests = used_requests + given.column2,"
    " used_tokens = used_tokens + given.column3, used_cost = used_cost + given.column4"
    " FROM {given} WHERE quotas_allocation.id = given.column1"
)
_GIVEN = "unnest(%s::uuid[], %s::bigint[], %s::bigint[], %s::bigint[]) AS given(column1, column2, column3, column4)"
_RAISE_LOCKED = _RAISE.format(given=_GIVEN)
_LOCK_AND_RAISE = (
    f"WITH given AS (SELECT * FROM {_GIVEN}), locked AS (SELECT id FROM quotas_allocation"  # noqa: S608
    " WHERE id IN (SELECT column1 FROM given) ORDER BY id FOR UPDATE) "
    + _RAISE.format(given="given, locked")
    + " AND quotas_allocation.id = locked.id"
)


def _for_update() -> str:
    """SQLite's transactions are immediate: one writer at a time, so its rows need no locks."""
    return "" if on_sqlite() else " FOR UPDATE"
