"""Sums of any span of time: whole hours out of the rollups, the rest out of records."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from digitalme.database import as_time
from usage.models import RollupMark
from usage.rollups import HOUR, hour_of
from usage.sums import fetch, of_records, of_rollups

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
# With more reopened hours than these, everything from the first of them on is read from records.
MOST_REOPENED = 24
# The beginning of a text that tells a time in UTC, to the hour; both databases write it so.
HOUR_OF_RECORD = "substr(CAST(timestamp AS text), 1, 13)"
HOUR_OF_ROLLUP = "substr(CAST(hour AS text), 1, 13)"
# A select and its values.
Part = tuple[str, Sequence[Any]]


class Whose(NamedTuple):
    """Whose calls are meant: the column that names them, and its value."""

    column: str
    id: UUID


class Rolled(NamedTuple):
    """How far the rollups can be relied on: before `until`, without the `reopened` hours."""

    until: datetime
    reopened: tuple[datetime, ...] = ()


class Wanted(NamedTuple):
    """Which calls are to be summed up: those that began in [start, end), to one provider or to all."""

    whose: Whose
    start: datetime
    end: datetime
    provider: str | None = None


def mark() -> datetime:
    """Return how far the rollups reach, reopened hours included."""
    return RollupMark.objects.filter(id=1).values_list("rolled_until", flat=True).first() or _NEVER


def rolled() -> Rolled:
    """Return how far the rollups can be relied on now."""
    rows = fetch(
        "SELECT 1, rolled_until FROM usage_rollupmark UNION SELECT 0, hour FROM usage_reopenedhour ORDER BY 1 DESC, 2",
        [],
    )
    times = sorted((kind, as_time(at) or _NEVER) for kind, at in rows)
    until = next((at for kind, at in times if kind), _NEVER)
    reopened = tuple(at for kind, at in times if not kind and at < until)
    return Rolled(min(until, reopened[0]), ()) if len(reopened) > MOST_REOPENED else Rolled(until, reopened)


def sums(
    wanted: Wanted, known: Rolled, by: Sequence[str] = (), *, latencies: bool = False, tags: bool = False
) -> list[tuple[Any, ...]]:
    """Return rows that together are the sums: the values of the columns `by`, then those of usage.sums; one query.

    What stands for a column `hour` is read by `hour`. `tags` leaves out calls without a tag.
    """
    return together(parts(wanted, known, by, latencies=latencies, tags=tags))


def parts(
    wanted: Wanted, known: Rolled, by: Sequence[str] = (), *, latencies: bool = False, tags: bool = False
) -> list[Part]:
    """Return the selects whose rows together are the sums."""
    first = wanted.start if wanted.start == hour_of(wanted.start) else hour_of(wanted.start) + HOUR
    last = min(hour_of(wanted.end), known.until)
    if first >= last:
        first = last = wanted.start
    spans = [(wanted.start, first), *((one, one + HOUR) for one in known.reopened if first <= one < last)]
    spans += [(last, wanted.end)]
    found = []
    if first < last:
        found.append(_of_rollups(wanted, [span[0] for span in spans[1:-1]], (first, last), by, latencies, tags))
    spans = [(begin, end) for begin, end in spans if begin < end]
    if spans:
        found.append(_of_records(wanted, spans, by, latencies, tags))
    return found


def together(selects: Sequence[Part]) -> list[tuple[Any, ...]]:
    """Return the rows of all selects, in one query if there is any."""
    text = " UNION ALL ".join(select for select, _ in selects)
    return fetch(text, [value for _, values in selects for value in values]) if text else []


def hour(told: str) -> datetime:
    """Return the hour that a row of `sums` tells."""
    return datetime.strptime(told, "%Y-%m-%d %H").replace(tzinfo=UTC)


def _of_rollups(
    wanted: Wanted,
    without: list[datetime],
    span: tuple[datetime, datetime],
    by: Sequence[str],
    latencies: bool,
    tags: bool,
) -> Part:
    where, values = _narrowed(wanted)
    where += " AND hour >= %s AND hour < %s" + " AND hour <> %s" * len(without)
    table = "usage_hourlytags" if tags else "usage_hourlyusage"
    told = [HOUR_OF_ROLLUP if name == "hour" else name for name in by]
    return select(of_rollups(latencies=latencies), table, where, told), [*values, *span, *without]


def _of_records(
    wanted: Wanted, spans: list[tuple[datetime, datetime]], by: Sequence[str], latencies: bool, tags: bool
) -> Part:
    where, values = _narrowed(wanted)
    where += f" AND ({' OR '.join(['timestamp >= %s AND timestamp < %s'] * len(spans))})"
    where += " AND tag <> ''" if tags else ""
    told = [HOUR_OF_RECORD if name == "hour" else name for name in by]
    bounds = [bound for span in spans for bound in span]
    return select(of_records(latencies=latencies), "usage_usagerecord", where, told), [*values, *bounds]


def _narrowed(wanted: Wanted) -> tuple[str, list[Any]]:
    of_provider = "" if wanted.provider is None else " AND provider = %s"
    return (
        f"{wanted.whose.column} = %s{of_provider}",
        [wanted.whose.id, *([] if wanted.provider is None else [wanted.provider])],
    )


def select(summed: str, table: str, where: str, told: Sequence[str]) -> str:
    """Return the select that tells sums by what `told` names."""
    named = "".join(f"{one}, " for one in told)
    grouped = f" GROUP BY {', '.join(told)}" if told else ""
    return f"SELECT {named}{summed} FROM {table} WHERE {where}{grouped}"  # noqa: S608
