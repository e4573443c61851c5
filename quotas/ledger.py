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

from django.db import connection

from digitalme.database import flatten, parameters, placeholders, rows_of_placeholders
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
    ids = sorted({one for touched, amounts in changes if amounts != _NOTHING for one in touched})
    if len(ids) > 1 and connection.vendor != "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT id FROM quotas_allocation WHERE id IN ({placeholders(len(ids))})"  # noqa: S608
                f" ORDER BY id{_for_update()}",
                parameters(ids),
            )
    _raise_counters(changes)


_NOTHING = Amounts()
_COLUMNS = (
    "id, user_id, provider, type, binds, allowed_requests, allowed_tokens, allowed_cost,"
    " used_requests, used_tokens, used_cost, period_end, is_active"
)


def _locked_states(holds: Sequence[Hold], now: datetime) -> dict[UUID, list[AllocationState]]:
    """Lock the current rows of all users and providers concerned, by id."""
    users = list({hold.user_id for hold in holds})
    providers = ["", *{hold.provider for hold in holds}]
    query = (
        f"SELECT {_COLUMNS} FROM quotas_allocation"  # noqa: S608 (constants and placeholders only)
        f" WHERE user_id IN ({placeholders(len(users))}) AND provider IN ({placeholders(len(providers))})"
        f" AND period_start <= %s AND period_end > %s ORDER BY id{_for_update()}"
    )
    states: dict[UUID, list[AllocationState]] = {}
    with connection.cursor() as cursor:
        cursor.execute(query, parameters([*users, *providers, now, now]))
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


def _raise_counters(changes: Iterable[tuple[Collection[UUID], Amounts]]) -> None:
    """Add to the counters of rows that are locked already, in one statement."""
    rows = [
        (one, total.requests, total.tokens, total.cost)
        for one, total in leases.sums(changes).items()
        if total != _NOTHING
    ]
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE quotas_allocation SET used_requests = used_requests + v.column2,"  # noqa: S608
            " used_tokens = used_tokens + v.column3, used_cost = used_cost + v.column4"
            f" FROM (VALUES {rows_of_placeholders(len(rows), 4)}) AS v WHERE quotas_allocation.id = v.column1",
            parameters(flatten(rows)),
        )


def _for_update() -> str:
    """SQLite's transactions are immediate: one writer at a time, so its rows need no locks."""
    return "" if connection.vendor == "sqlite" else " FOR UPDATE"
