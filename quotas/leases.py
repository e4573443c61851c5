"""The holds of running calls, in hand-written SQL."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from digitalme import statements
from digitalme.database import among, as_uuid, on_sqlite, parameters
from digitalme.statements import Statement
from quotas.decision import Amounts
from quotas.rows import moment, same_id

LEASE_SECONDS = 60
RENEW_SECONDS = 20


class Hold(NamedTuple):
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
    critical: bool = False


class LeaseFacts(NamedTuple):
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


_TYPES = {
    "id": "uuid",
    "user_id": "uuid",
    "token_id": "uuid",
    "team_id": "uuid",
    "credential_id": "uuid",
    "provider": "text",
    "operation": "text",
    "model": "text",
    "key_source": "text",
    "tag": "text",
    "allocations": "jsonb",
    "reserved_requests": "bigint",
    "reserved_tokens": "bigint",
    "reserved_cost": "bigint",
    "created_at": "timestamptz",
    "expires_at": "timestamptz",
}
_COLUMNS = ", ".join(_TYPES)


def insert(granted: Sequence[tuple[Hold, tuple[UUID, ...]]], now: datetime) -> Statement[None]:
    """Write the leases of holds that are booked on these allocations."""
    # Both times are the same in all rows, so they are made ready once.
    begin, end = parameters([now, now + timedelta(seconds=LEASE_SECONDS)])
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
            _json(ids),
            hold.estimate.requests,
            hold.estimate.tokens,
            hold.estimate.cost,
            begin,
            end,
        )
        for hold, ids in granted
    ]
    return statements.insert("quotas_lease", _TYPES, rows)


def delete(request_ids: Collection[UUID]) -> Statement[dict[UUID, tuple[tuple[UUID, ...], Amounts]]]:
    """End leases; read the allocations and amounts of those that were there."""
    these, ids = among(request_ids)
    return Statement(
        f"DELETE FROM quotas_lease WHERE id {these}"  # noqa: S608
        " RETURNING id, allocations, reserved_requests, reserved_tokens, reserved_cost",
        ids,
        lambda rows: {
            row[0] if isinstance(row[0], UUID) else UUID(row[0]): (_ids(row[1]), Amounts(row[2], row[3], row[4]))
            for row in rows
        },
    )


def renew(request_ids: Collection[UUID], *, now: datetime) -> Statement[int]:
    """Let the leases of running calls live for another LEASE_SECONDS; read how many there were."""
    these, ids = among(request_ids)
    return Statement(
        f"UPDATE quotas_lease SET expires_at = %s WHERE id {these} RETURNING id",  # noqa: S608
        [*parameters([now + timedelta(seconds=LEASE_SECONDS)]), *ids],
        len,
    )


def expired(*, now: datetime, limit: int = 500) -> Statement[list[LeaseFacts]]:
    """Lock and read leases that ran out, leaving those that another sweep or a settlement is at."""
    skip = "" if on_sqlite() else " FOR UPDATE SKIP LOCKED"
    return Statement(
        f"SELECT {_COLUMNS} FROM quotas_lease WHERE expires_at <= %s ORDER BY id LIMIT %s{skip}",  # noqa: S608
        parameters([now, limit]),
        lambda rows: [_facts(row) for row in rows],
    )


def held_per_allocation(user_ids: Collection[UUID] | None) -> Statement[dict[UUID, Amounts]]:
    """Read what the running calls of these users, or of everybody, hold on each allocation."""
    those, ids = ("IS NOT NULL", []) if user_ids is None else among(user_ids)
    return Statement(
        "SELECT allocations, SUM(reserved_requests), SUM(reserved_tokens), SUM(reserved_cost)"  # noqa: S608
        f" FROM quotas_lease WHERE user_id {those} GROUP BY allocations",
        ids,
        lambda rows: sums((_ids(row[0]), Amounts(int(row[1]), int(row[2]), int(row[3]))) for row in rows),
    )


def sums(changes: Iterable[tuple[Collection[UUID], Amounts]]) -> dict[UUID, Amounts]:
    """Add up by allocation amounts that each go to several of them."""
    totals: dict[UUID, list[int]] = {}
    for ids, amounts in changes:
        for one in ids:
            total = totals.setdefault(one, [0, 0, 0])
            total[0] += amounts.requests
            total[1] += amounts.tokens
            total[2] += amounts.cost
    return {one: Amounts(*total) for one, total in totals.items()}


def together(one: Mapping[UUID, Amounts], other: Mapping[UUID, Amounts]) -> dict[UUID, Amounts]:
    """Add up two sets of sums."""
    return sums(((id_,), amounts) for some in (one, other) for id_, amounts in some.items())


def _facts(row: tuple[Any, ...]) -> LeaseFacts:
    return LeaseFacts(
        request_id=same_id(row[0]),
        user_id=same_id(row[1]),
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
        created_at=moment(row[14]),
    )


@lru_cache(8192)
def _json(ids: tuple[UUID, ...]) -> str:
    return json.dumps([str(one) for one in ids])


def _ids(value: Any) -> tuple[UUID, ...]:
    """Both databases hand JSON over as text to hand-written SQL: SQLite's has no other type, and Django
    registers its own plain loader with PostgreSQL's driver."""
    return _parsed(value) if isinstance(value, str) else tuple(UUID(one) for one in value)


@lru_cache(8192)
def _parsed(text: str) -> tuple[UUID, ...]:
    return tuple(UUID(one) for one in json.loads(text))
