"""What is summed up, as SQL: out of records, and out of rollups."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any

from django.db import connection

from digitalme.database import parameters
from usage import latency
from usage.models import UsageRecord

FAILURES = (UsageRecord.Status.FAILED, UsageRecord.Status.CUT, UsageRecord.Status.SWEPT)
_FAILURES = ", ".join(f"'{status.value}'" for status in FAILURES)
_CALLED = "status <> 'refused'"


def _count(condition: str) -> str:
    return f"COUNT(*) FILTER (WHERE {condition})"


# How each sum comes from records. Those of refused calls count as refused and as nothing else.
FROM_RECORDS: dict[str, str] = {
    "requests": _count(_CALLED),
    "failed": _count(f"status IN ({_FAILURES})"),
    "refused": _count("status = 'refused'"),
    "unpriced": _count("cost IS NULL"),
    "counted": _count(f"{_CALLED} AND counted_by = 'counted'"),
    "estimated": _count(f"{_CALLED} AND counted_by = 'estimated'"),
    "input_tokens": "SUM(input_tokens)",
    "output_tokens": "SUM(output_tokens)",
    "cached_tokens": "SUM(cached_tokens)",
    "cache_write_tokens": "SUM(cache_write_tokens)",
    "reasoning_tokens": "SUM(reasoning_tokens)",
    "cost": "COALESCE(SUM(cost), 0)",
    "response_ms": "COALESCE(SUM(response_ms), 0)",
}
SUMMED = tuple(FROM_RECORDS)
LATENCIES = dict(zip(latency.COLUMNS, (_count(f"{_CALLED} AND {one}") for one in latency.conditions()), strict=True))
COLUMNS = (*SUMMED, *latency.COLUMNS)


def of_records(*, latencies: bool = True) -> str:
    """Return the select list of all sums out of records, or of those without latencies."""
    return ", ".join([*FROM_RECORDS.values(), *(LATENCIES.values() if latencies else ())])


def of_rollups(*, latencies: bool = True) -> str:
    """Return the select list of all sums out of rollups, or of those without latencies."""
    return ", ".join(f"SUM({name})" for name in (COLUMNS if latencies else SUMMED))


def execute(query: str, values: Sequence[Any]) -> int:
    """Run a statement and return how many rows it touched."""
    with connection.cursor() as cursor:
        cursor.execute(query, plain(values))
        return int(cursor.rowcount)


def fetch(query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Run a query and return its rows as the driver reads them."""
    with connection.cursor() as cursor:
        cursor.execute(query, plain(values))
        return list(cursor.fetchall())


def plain(values: Iterable[Any]) -> list[Any]:
    """Return the values as the driver takes them. SQLite's takes a day as text only."""
    text = connection.vendor == "sqlite"
    return parameters(
        one.isoformat() if text and isinstance(one, date) and not isinstance(one, datetime) else one for one in values
    )
