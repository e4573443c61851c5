"""Reserve before a call, settle after it: the counters that no call escapes.

Every function but `ensure_periods` runs inside its caller's transaction. Locks are taken in one order
everywhere, leases before allocations and allocations by id, so that processes cannot wait for one
another in a circle.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from digitalme.database import among, flatten, on_sqlite, parameters, prepared_cursor, rows_of_placeholders
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
    "Refused",
    "Settled",
    "Settlement",
    "Standing",
    "adjust",
    "ensure_periods",
    "expired",
    "release",
    "renew",
    "reserve",
    "settle",
]


@dataclass(frozen=True, slots=True)
class Granted:
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


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a call really took."""

    request_id: UUID
    actual: Amounts


@dataclass(frozen=True, slots=True)
class Settled:
    """`found` is False if the lease was gone: settled before, or swept."""

    request_id: UUID
    found: bool
    allocation_ids: tuple[UUID, ...] = ()


def reserve(holds: Sequence[Hold], *, now: datetime) -> list[Granted | Refused]:
    """Book each hold on all allocations that bind its call, or refuse it; in order, all or nothing.

    Raises MissingPeriods before anything is booked if a row that must bind a call is not there; then
    call `ensure_periods` outside of the transaction and try again.
    """
    if not holds:
        return []
    states = _locked_states(holds, now)
    _check_periods(holds, states, now)
    bindings: dict[tuple[UUID, str, bool], _Binding] = {}
    outcomes: list[Granted | Refused] = []
    granted: list[tuple[Hold, tuple[UUID, ...]]] = []
    refused: list[tuple[int, Hold, Obstacle]] = []
    for place, hold in enumerate(holds):
        key = hold.user_id, hold.provider, hold.key_source != "system"
        binding = bindings.get(key)
        if binding is None:
            binding = bindings[key] = _binding(states.get(hold.user_id, ()), hold.provider, key[2])
        obstacle = decide(binding.states, hold.estimate)
        if obstacle is None:
            binding.book(hold.estimate)
            outcomes.append(Granted(hold.request_id, binding.ids, hold.estimate, tightest(binding.states)))
            granted.append((hold, binding.ids))
        else:
            outcomes.append(Refused(hold.request_id, obstacle.standing, 0, ""))
            refused.append((place, hold, obstacle))
    if granted:
        _raise_counters((ids, hold.estimate) for hold, ids in granted)
        leases.insert(granted, now)
    if refused:
        _explain(refused, outcomes)
    return outcomes


def settle(settlements: Sequence[Settlement], *, now: datetime) -> list[Settled]:
    """Replace what each lease holds by what the call really took, and end the lease. Once: a second
    settlement finds no lease."""
    if not settlements:
        return []
    ended = leases.delete([settlement.request_id for settlement in settlements])
    changes: list[tuple[Collection[UUID], Amounts]] = []
    settled = []
    for settlement in settlements:
        lease = ended.pop(settlement.request_id, None)
        if lease is None:
            settled.append(Settled(settlement.request_id, found=False))
            continue
        ids, reserved = lease
        changes.append((ids, settlement.actual - reserved))
        settled.append(Settled(settlement.request_id, True, ids))
    adjust(changes)
    return settled


def release(request_ids: Collection[UUID], *, now: datetime) -> list[Settled]:
    """Give holds back in full."""
    return settle([Settlement(request_id, Amounts()) for request_id in request_ids], now=now)


def adjust(changes: Sequence[tuple[Collection[UUID], Amounts]]) -> None:
    """Add differences to the counters of allocations, locking them by id first."""
    _raise_counters(changes, lock=True)


_NOTHING = Amounts()
_COLUMNS = (
    "id, user_id, provider, type, binds, allowed_requests, allowed_tokens, allowed_cost,"
    " used_requests, used_tokens, used_cost, period_end, is_active"
)


def _locked_states(holds: Sequence[Hold], now: datetime) -> dict[UUID, list[AllocationState]]:
    """Lock the current rows of all users and providers concerned, by id."""
    of_users, users = among({hold.user_id for hold in holds})
    for_providers, providers = among({"", *(hold.provider for hold in holds)})
    query = (
        f"SELECT {_COLUMNS} FROM quotas_allocation"  # noqa: S608 (constants and placeholders only)
        f" WHERE user_id {of_users} AND provider {for_providers}"
        f" AND period_start <= %s AND period_end > %s ORDER BY id{_for_update()}"
    )
    states: dict[UUID, list[AllocationState]] = {}
    with prepared_cursor() as cursor:
        cursor.execute(query, [*users, *providers, *parameters([now, now])])
        for row in cursor.fetchall():
            state = _state(row)
            states.setdefault(state.user_id, []).append(state)
    return states


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


def _check_periods(holds: Sequence[Hold], states: dict[UUID, list[AllocationState]], now: datetime) -> None:
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

    def book(self, estimate: Amounts) -> None:
        for state in self.states:
            state.used[0] += estimate.requests
            state.used[1] += estimate.tokens
            state.used[2] += estimate.cost


def _binding(states: Sequence[AllocationState], provider: str, own_key: bool) -> _Binding:
    found = tuple(state for state in states if binds(state, provider, own_key))
    return _Binding(found, tuple(state.id for state in found))


def _explain(refused: Sequence[tuple[int, Hold, Obstacle]], outcomes: list[Granted | Refused]) -> None:
    """Say how much of a refusing limit is only held by running calls, this batch's included, and what to do."""
    held = leases.held_per_allocation({hold.user_id for _, hold, _ in refused})
    for place, hold, obstacle in refused:
        limit = obstacle.standing
        amount = getattr(held.get(obstacle.allocation.id, _NOTHING), limit.dimension)
        outcomes[place] = Refused(hold.request_id, limit, amount, _advice(hold.key_source != "system"))


def _advice(own_key: bool) -> str:
    if own_key:
        return "Wait until then, or ask the administrator for more."
    return "Wait until then, add your own key to go on at once, or ask the administrator for more."


def _raise_counters(changes: Iterable[tuple[Collection[UUID], Amounts]], *, lock: bool = False) -> None:
    """Add to the counters of rows, in one statement; lock them by id first unless they are locked already."""
    rows = [
        (one, total.requests, total.tokens, total.cost)
        for one, total in leases.sums(changes).items()
        if total != _NOTHING
    ]
    if not rows:
        return
    with prepared_cursor() as cursor:
        if on_sqlite():
            values = f"VALUES {rows_of_placeholders(len(rows), 4)}"
            cursor.execute(_RAISE.format(given=f"({values}) AS given"), parameters(flatten(rows)))
            return
        # A single row needs no order: its update locks it.
        statement = _LOCK_AND_RAISE if lock and len(rows) > 1 else _RAISE_LOCKED
        cursor.execute(statement, [_array(column) for column in zip(*rows, strict=True)])


def _array(values: Iterable[UUID | int]) -> str:
    """Return ids or numbers as a PostgreSQL array. As text it has the same type however large they are."""
    return f"{{{','.join(map(str, values))}}}"


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
