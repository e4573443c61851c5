"""Reserve before a call, settle after it: the counters that no call escapes.

Every function runs inside its caller's transaction. Locks are taken in one order everywhere, leases
before allocations and allocations by id, so that processes cannot wait for one another in a circle.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from digitalme.database import as_time, as_uuid, flatten, parameters, placeholders, rows_of_placeholders
from quotas import policy
from quotas.decision import AllocationState, Amounts, Standing, binds, decide, tightest
from quotas.policy import LimitKey

__all__ = ["Amounts", "Standing"]

LEASE_SECONDS = 60
RENEW_SECONDS = 20


class MissingPeriods(Exception):
    """Rows that must bind a call are not there (yet): nothing was booked. `wanted` names them for
    `ensure_periods`."""

    def __init__(self, wanted: Collection[tuple[UUID, str, str]]) -> None:
        super().__init__(f"{len(wanted)} allocations have no row for this period.")
        self.wanted = wanted


@dataclass(frozen=True, slots=True)
class Hold:
    """What a call may reach at most, and the facts that its lease keeps for the sweep."""

    request_id: UUID
    user_id: UUID
    provider: str
    operation: str
    model: str
    key_source: str
    estimate: Amounts
    time_zone: str = "UTC"
    token_id: UUID | None = None
    team_id: UUID | None = None
    credential_id: UUID | None = None
    tag: str = ""


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


@dataclass(frozen=True, slots=True)
class LeaseFacts:
    """An expired lease: all that is known of a call whose process is gone."""

    request_id: UUID
    user_id: UUID
    token_id: UUID | None
    team_id: UUID | None
    credential_id: UUID | None
    provider: str
    operation: str
    model: str
    key_source: str
    tag: str
    allocation_ids: tuple[UUID, ...]
    reserved: Amounts
    created_at: datetime


# --- Periods ----------------------------------------------------------------------------------


class _KnownPeriods:
    """Which rows a call needs, and until when they are known to be there. Per process; the rows
    themselves are the truth."""

    def __init__(self) -> None:
        self._known: dict[tuple[UUID, str], tuple[datetime, frozenset[LimitKey]]] = {}

    def expected(self, user_id: UUID, provider: str, now: datetime) -> frozenset[LimitKey] | None:
        """Return the limits that must have a row, or None if that is not known for this moment."""
        known = self._known.get((user_id, provider))
        return known[1] if known and known[0] > now else None

    def learn(self, user_id: UUID, provider: str, until: datetime, keys: frozenset[LimitKey]) -> None:
        if len(self._known) > 50_000:
            self._known.clear()
        self._known[user_id, provider] = until, keys

    def forget(self, user_id: UUID, provider: str) -> None:
        self._known.pop((user_id, provider), None)


_known = _KnownPeriods()
# A limit that an administrator adds binds within this time even where its row is not made at once.
KNOWN_SECONDS = 60


def ensure_periods(wanted: Collection[tuple[UUID, str, str]], *, now: datetime) -> None:
    """Make the rows that calls of (user id, provider, time zone) need, in a transaction of its own."""
    unknown = [entry for entry in set(wanted) if _known.expected(entry[0], entry[1], now) is None]
    if not unknown:
        return
    with transaction.atomic():
        limits = policy.limits_for({user_id for user_id, _, _ in unknown})
        for user_id, provider, zone in sorted(unknown, key=str):
            specs = policy.specs(limits.get(user_id, []), provider)
            rows = policy.open_rows(user_id, specs, zone, now)
            until = min([row.period_end for row in rows] + [now + timedelta(seconds=KNOWN_SECONDS)])
            _known.learn(user_id, provider, until, frozenset(spec.key for spec in specs))


# --- Reserve ----------------------------------------------------------------------------------

_COLUMNS = (
    "id, user_id, provider, type, binds, allowed_requests, allowed_tokens, allowed_cost,"
    " used_requests, used_tokens, used_cost, period_end, is_active"
)


def reserve(holds: Sequence[Hold], *, now: datetime) -> list[Granted | Refused]:
    """Book each hold on all allocations that bind its call, or refuse it; in order, all or nothing.

    Raises MissingPeriods before anything is booked if a row that must bind a call is not there.
    """
    if not holds:
        return []
    states = _locked_states(holds, now)
    _check_periods(holds, states, now)
    outcomes: list[Granted | Refused] = []
    granted: list[tuple[Hold, tuple[UUID, ...]]] = []
    refused: list[tuple[int, Hold, AllocationState, Standing]] = []
    for place, hold in enumerate(holds):
        own = hold.key_source != "system"
        binding = [state for state in states[hold.user_id] if binds(state, hold.provider, own)]
        limit = decide(binding, hold.estimate)
        if limit is None:
            outcomes.append(_book(hold, binding))
            granted.append((hold, tuple(state.id for state in binding)))
        else:
            state = next(one for one in binding if (one.type, one.provider) == (limit.type, limit.provider))
            refused.append((place, hold, state, limit))
            outcomes.append(Refused(hold.request_id, limit, 0, _advice(own)))
    if granted:
        _raise_counters((ids, hold.estimate) for hold, ids in granted)
        _insert_leases(granted, now)
    if refused:
        _explain(refused, outcomes)
    return outcomes


def _locked_states(holds: Sequence[Hold], now: datetime) -> dict[UUID, list[AllocationState]]:
    """Lock the current rows of all users and providers concerned, by id."""
    users = list({hold.user_id for hold in holds})
    providers = ["", *{hold.provider for hold in holds}]
    query = (
        f"SELECT {_COLUMNS} FROM quotas_allocation"  # noqa: S608 (constants and placeholders only)
        f" WHERE user_id IN ({placeholders(len(users))}) AND provider IN ({placeholders(len(providers))})"
        f" AND period_start <= %s AND period_end > %s ORDER BY id{_for_update()}"
    )
    states: dict[UUID, list[AllocationState]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(query, parameters([*users, *providers, now, now]))
        for row in cursor.fetchall():
            state = _state(row)
            states[state.user_id].append(state)
    return states


def _state(row: tuple[Any, ...]) -> AllocationState:
    return AllocationState(
        id=_id(row[0]),
        user_id=_id(row[1]),
        provider=row[2],
        type=row[3],
        binds=row[4],
        allowed=(row[5], row[6], row[7]),
        used=[row[8], row[9], row[10]],
        resets_at=_time(row[11]),
        is_active=bool(row[12]),
    )


def _check_periods(holds: Sequence[Hold], states: dict[UUID, list[AllocationState]], now: datetime) -> None:
    missing = set()
    for hold in holds:
        expected = _known.expected(hold.user_id, hold.provider, now)
        if expected is not None:
            there = {LimitKey(state.type, state.provider) for state in states[hold.user_id]}
            if expected <= there:
                continue
            _known.forget(hold.user_id, hold.provider)
        missing.add((hold.user_id, hold.provider, hold.time_zone))
    if missing:
        raise MissingPeriods(missing)


def _book(hold: Hold, binding: list[AllocationState]) -> Granted:
    for state in binding:
        state.used[0] += hold.estimate.requests
        state.used[1] += hold.estimate.tokens
        state.used[2] += hold.estimate.cost
    return Granted(hold.request_id, tuple(state.id for state in binding), hold.estimate, tightest(binding))


def _advice(own: bool) -> str:
    if own:
        return "Wait until then, or ask the administrator for more."
    return "Wait until then, add your own key to go on at once, or ask the administrator for more."


_LEASE_COLUMNS = (
    "id, user_id, token_id, team_id, credential_id, provider, operation, model, key_source, tag, allocations,"
    " reserved_requests, reserved_tokens, reserved_cost, created_at, expires_at"
)


def _insert_leases(granted: Sequence[tuple[Hold, tuple[UUID, ...]]], now: datetime) -> None:
    expires = now + timedelta(seconds=LEASE_SECONDS)
    rows = [
        (
            hold.request_id,
            hold.user_id,
            hold.token_id,
            hold.team_id,
            hold.credential_id,
            hold.provider,
            hold.operation,
            hold.model,
            hold.key_source,
            hold.tag,
            json.dumps([str(one) for one in ids]),
            hold.estimate.requests,
            hold.estimate.tokens,
            hold.estimate.cost,
            now,
            expires,
        )
        for hold, ids in granted
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO quotas_lease ({_LEASE_COLUMNS}) VALUES {rows_of_placeholders(len(rows), 16)}",  # noqa: S608
            parameters(flatten(rows)),
        )


def _explain(refused: Sequence[tuple[int, Hold, AllocationState, Standing]], outcomes: list[Granted | Refused]) -> None:
    """Say how much of a refusing limit is only held by running calls, this batch's included."""
    held = held_per_allocation({hold.user_id for _, hold, _, _ in refused})
    for place, hold, state, limit in refused:
        amount = getattr(held.get(state.id, Amounts()), limit.dimension)
        outcomes[place] = Refused(hold.request_id, limit, amount, _advice(hold.key_source != "system"))


# --- Settle -----------------------------------------------------------------------------------


def settle(settlements: Sequence[Settlement], *, now: datetime) -> list[Settled]:
    """Replace what each lease holds by what the call really took, and end the lease. Once: a second
    settlement finds no lease."""
    if not settlements:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM quotas_lease WHERE id IN ({placeholders(len(settlements))})"  # noqa: S608
            " RETURNING id, allocations, reserved_requests, reserved_tokens, reserved_cost",
            parameters(settlement.request_id for settlement in settlements),
        )
        ended = {_id(row[0]): (_ids(row[1]), Amounts(row[2], row[3], row[4])) for row in cursor.fetchall()}
    changes = []
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
    ids = sorted({one for touched, _ in changes for one in touched})
    if not ids:
        return
    if connection.vendor != "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT id FROM quotas_allocation WHERE id IN ({placeholders(len(ids))})"  # noqa: S608
                f" ORDER BY id{_for_update()}",
                parameters(ids),
            )
    _raise_counters(changes)


def _raise_counters(changes: Iterable[tuple[Collection[UUID], Amounts]]) -> None:
    """Add to the counters of rows that are locked already, in one statement."""
    sums: dict[UUID, list[int]] = {}
    for ids, amounts in changes:
        for one in ids:
            total = sums.setdefault(one, [0, 0, 0])
            total[0] += amounts.requests
            total[1] += amounts.tokens
            total[2] += amounts.cost
    rows = [(one, *total) for one, total in sums.items() if any(total)]
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE quotas_allocation SET used_requests = used_requests + v.column2,"  # noqa: S608
            " used_tokens = used_tokens + v.column3, used_cost = used_cost + v.column4"
            f" FROM (VALUES {rows_of_placeholders(len(rows), 4)}) AS v WHERE quotas_allocation.id = v.column1",
            parameters(flatten(rows)),
        )


# --- Leases -----------------------------------------------------------------------------------


def renew(request_ids: Collection[UUID], *, now: datetime) -> int:
    """Let the leases of running calls live for another LEASE_SECONDS; return how many there were."""
    if not request_ids:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE quotas_lease SET expires_at = %s WHERE id IN ({placeholders(len(request_ids))})",  # noqa: S608
            parameters([now + timedelta(seconds=LEASE_SECONDS), *request_ids]),
        )
        return int(cursor.rowcount)


def expired(*, now: datetime, limit: int = 500) -> list[LeaseFacts]:
    """Lock and return leases that ran out, leaving those that another sweep is at."""
    skip = "" if connection.vendor == "sqlite" else f"{_for_update()} SKIP LOCKED"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {_LEASE_COLUMNS} FROM quotas_lease WHERE expires_at <= %s"  # noqa: S608
            f" ORDER BY id LIMIT %s{skip}",
            parameters([now, limit]),
        )
        return [_facts(row) for row in cursor.fetchall()]


def _facts(row: tuple[Any, ...]) -> LeaseFacts:
    return LeaseFacts(
        request_id=_id(row[0]),
        user_id=_id(row[1]),
        token_id=as_uuid(row[2]),
        team_id=as_uuid(row[3]),
        credential_id=as_uuid(row[4]),
        provider=row[5],
        operation=row[6],
        model=row[7],
        key_source=row[8],
        tag=row[9],
        allocation_ids=_ids(row[10]),
        reserved=Amounts(row[11], row[12], row[13]),
        created_at=_time(row[14]),
    )


def held_per_allocation(user_ids: Collection[UUID]) -> dict[UUID, Amounts]:
    """Return what the running calls of these users hold on each allocation."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT allocations, reserved_requests, reserved_tokens, reserved_cost"  # noqa: S608
            f" FROM quotas_lease WHERE user_id IN ({placeholders(len(user_ids))})",
            parameters(user_ids),
        )
        rows = cursor.fetchall()
    sums: dict[UUID, list[int]] = {}
    for allocations, *amounts in rows:
        for one in _ids(allocations):
            total = sums.setdefault(one, [0, 0, 0])
            for place, amount in enumerate(amounts):
                total[place] += amount
    return {one: Amounts(*total) for one, total in sums.items()}


def _for_update() -> str:
    """SQLite's transactions are immediate: one writer at a time, so its rows need no locks."""
    return "" if connection.vendor == "sqlite" else " FOR UPDATE"


def _id(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)


def _time(value: Any) -> datetime:
    moment = as_time(value)
    if moment is None:
        raise ValueError("The column is never empty.")
    return moment


def _ids(value: Any) -> tuple[UUID, ...]:
    return tuple(UUID(one) for one in (json.loads(value) if isinstance(value, str) else value))
