"""Write what each call was, cost and came to: statements for the caller's transaction."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from digitalme import statements
from digitalme.database import among, as_time, on_sqlite, parameters
from digitalme.statements import Statement


class Record(NamedTuple):
    """One call. Costs are whole billionths of a US dollar; `cost` is None where no price is known."""

    request_id: UUID
    user_id: UUID
    provider: str
    status: str
    timestamp: datetime
    cost: int | None
    team_id: UUID | None = None
    token_id: UUID | None = None
    credential_id: UUID | None = None
    key_source: str = ""
    operation: str = ""
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    measured: str = ""
    price_version: str = ""
    counted_by: str = "provider"
    error_type: str = ""
    http_status: int | None = None
    response_ms: int | None = None
    first_byte_ms: int | None = None
    tag: str = ""
    allocations: tuple[UUID, ...] = ()
    charged_requests: int = 0
    charged_tokens: int = 0
    charged_cost: int = 0


@dataclass(frozen=True, slots=True)
class SweptFacts:
    """What a swept call was charged, and on which allocations."""

    allocation_ids: tuple[UUID, ...]
    charged_requests: int
    charged_tokens: int
    charged_cost: int


@dataclass(frozen=True, slots=True)
class Charged:
    """What a call was charged, on which allocations, and what it was."""

    allocation_ids: tuple[UUID, ...]
    charged_requests: int
    charged_tokens: int
    charged_cost: int
    model: str
    timestamp: datetime


# A record whose call began longer ago may belong to an hour that is rolled up already.
LATE = timedelta(minutes=5)

_TYPES = {
    "request_id": "uuid",
    "user_id": "uuid",
    "team_id": "uuid",
    "token_id": "uuid",
    "credential_id": "uuid",
    "key_source": "text",
    "provider": "text",
    "operation": "text",
    "model": "text",
    "input_tokens": "bigint",
    "output_tokens": "bigint",
    "cached_tokens": "bigint",
    "cache_write_tokens": "bigint",
    "reasoning_tokens": "bigint",
    "measured": "text",
    "cost": "bigint",
    "price_version": "text",
    "counted_by": "text",
    "status": "text",
    "error_type": "text",
    "http_status": "smallint",
    "response_ms": "integer",
    "first_byte_ms": "integer",
    "tag": "text",
    "timestamp": "timestamptz",
    "allocations": "jsonb",
    "charged_requests": "bigint",
    "charged_tokens": "bigint",
    "charged_cost": "bigint",
}


def record(records: Sequence[Record], *, now: datetime | None = None) -> list[Statement[Any]]:
    """Write the records; one whose request id is there already is left as it is."""
    if not records:
        return []
    rows = [_row(one) for one in records]
    written = statements.insert("usage_usagerecord", _TYPES, rows, conflict="ON CONFLICT (request_id) DO NOTHING")
    limit = (now or datetime.now(UTC)) - LATE
    late = [one.timestamp for one in records if one.timestamp < limit]
    return [written, *reopen(*late)] if late else [written]


def reopen(*moments: datetime) -> list[Statement[Any]]:
    """Have the rollups count the hours of these moments again, if they did before.

    Nothing here waits for a roll-up: one under way does not see this transaction's row, and leaves it for the next.
    """
    hours = {one.astimezone(UTC).replace(minute=0, second=0, microsecond=0) for one in moments}
    return [statements.insert("usage_reopenedhour", {"hour": "timestamptz"}, [(one,) for one in sorted(hours)])]


def swept(request_ids: Collection[UUID]) -> Statement[dict[UUID, SweptFacts]]:
    """Lock and read those of the records that a sweep wrote and nothing corrected since."""
    lock = "" if on_sqlite() else " FOR UPDATE"
    these, ids = among(request_ids)
    return Statement(
        "SELECT request_id, allocations, charged_requests, charged_tokens, charged_cost FROM usage_usagerecord"  # noqa: S608
        f" WHERE status = 'swept' AND request_id {these}{lock}",
        ids,
        lambda rows: {_id(row[0]): SweptFacts(_ids(row[1]), row[2], row[3], row[4]) for row in rows},
    )


def correct(late: Record) -> list[Statement[Any]]:
    """Put a call's real figures in the place of its swept record."""
    assignments = ", ".join(f"{name} = %s" for name in _TYPES if name != "request_id")
    corrected = Statement[
        None
    ](
        f"UPDATE usage_usagerecord SET {assignments} WHERE request_id = %s AND status = 'swept'",  # noqa: S608
        parameters([*_row(late)[1:], late.request_id]),
    )
    return [corrected, *reopen(late.timestamp)]


def charged(request_id: UUID) -> Statement[Charged | None]:
    """Lock and read what a finished call was charged; None if it has no record, or a sweep wrote it."""
    lock = "" if on_sqlite() else " FOR UPDATE"
    return Statement(
        "SELECT allocations, charged_requests, charged_tokens, charged_cost, model, timestamp FROM usage_usagerecord"  # noqa: S608
        f" WHERE request_id = %s AND status <> 'swept'{lock}",
        parameters([request_id]),
        lambda rows: _charged(rows[0]) if rows else None,
    )


def _charged(row: tuple[Any, ...]) -> Charged:
    began = as_time(row[5])
    if began is None:
        raise ValueError("A record has a time.")
    return Charged(_ids(row[0]), row[1], row[2], row[3], row[4], began)


def rewrite(request_id: UUID, timestamp: datetime, **figures: Any) -> list[Statement[Any]]:
    """Write other figures into a call's record; `timestamp` is the call's."""
    assignments = ", ".join(f"{name} = %s" for name in figures)
    written = Statement[None](
        f"UPDATE usage_usagerecord SET {assignments} WHERE request_id = %s",  # noqa: S608
        parameters([*figures.values(), request_id]),
    )
    return [written, *reopen(timestamp)]


def charged_per_allocation(allocation_ids: Collection[UUID] | None = None) -> dict[UUID, tuple[int, int, int]]:
    """Return requests, tokens and billionths of a dollar that all records together charged to each allocation,
    or to each of these."""
    totals: dict[UUID, list[int]] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT allocations, SUM(charged_requests), SUM(charged_tokens), SUM(charged_cost)"
            " FROM usage_usagerecord GROUP BY allocations"
        )
        for allocations, *amounts in cursor.fetchall():
            for one in _ids(allocations):
                total = totals.setdefault(one, [0, 0, 0])
                for place, amount in enumerate(amounts):
                    total[place] += int(amount)
    return {
        one: (total[0], total[1], total[2])
        for one, total in totals.items()
        if allocation_ids is None or one in allocation_ids
    }


def _row(one: Record) -> tuple[Any, ...]:
    return (
        one.request_id,
        one.user_id,
        one.team_id,
        one.token_id,
        one.credential_id,
        one.key_source,
        one.provider,
        one.operation,
        one.model,
        one.input_tokens,
        one.output_tokens,
        one.cached_tokens,
        one.cache_write_tokens,
        one.reasoning_tokens,
        one.measured,
        one.cost,
        one.price_version,
        one.counted_by,
        one.status,
        one.error_type,
        one.http_status,
        one.response_ms,
        one.first_byte_ms,
        one.tag,
        one.timestamp,
        _json(one.allocations),
        one.charged_requests,
        one.charged_tokens,
        one.charged_cost,
    )


def _id(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)


@lru_cache(8192)
def _json(ids: tuple[UUID, ...]) -> str:
    return json.dumps([str(one) for one in ids])


def _ids(value: Any) -> tuple[UUID, ...]:
    return tuple(UUID(one) for one in (json.loads(value) if isinstance(value, str) else value))
