"""What everybody together used and spent, by days in UTC: the house's rollups, and the records after them.

Records that came late or were corrected are in these numbers from the next roll-up on, a minute later at most.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from digitalme.database import as_uuid
from usage import reading
from usage.analytics import Interval, Point, Totals, UsageReport, dearest_first
from usage.rollups import day_bounds
from usage.sums import SUMMED, fetch, of_records, of_rollups

# Those that have few values are told whole, with latencies; of the others the dearest.
FEW = ("provider", "model", "key_source")
MANY = ("user", "team", "token", "tag")
MOST = 20
_IDS = ("user", "team", "token")


def report(first: date, last: date, *, interval: Interval = "day") -> UsageReport:
    """Return everything about the calls of the days from first to last, both included, and of as many days before.

    The series tells a day's calls by provider, an hour's all together. In `by`, users, teams, tokens and tags are the
    MOST dearest, as far as calls are rolled up.
    """
    (start, _), (_, end) = day_bounds(first, "UTC"), day_bounds(last, "UTC")
    days = (last - first).days + 1
    whole, by = Totals(), {name: dict[Any, Totals]() for name in (*FEW, *MANY)}
    points: dict[tuple[Any, Any], Point] = {}
    for dimension, value, *sums in _rolled(("all", *FEW), first, last, latencies=True):
        (whole if dimension == "all" else by[dimension].setdefault(value, Totals())).add(sums)
    for dimension in MANY:
        for value, *sums in _dearest(dimension, first, last):
            by[dimension][as_uuid(value or None) if dimension in _IDS else value] = _totals(sums)
    for at, value, amounts in _rolled_series(first, last, interval):
        points[at, value] = _point(at, value, amounts)
    _add_tail(start, end, whole, by, points, interval)
    return UsageReport(
        start=start,
        end=end,
        total=whole,
        before=_before(first - timedelta(days=days), start),
        by={name: dearest_first(found) for name, found in by.items()},
        series=[points[key] for key in sorted(points)],
    )


def _rolled(dimensions: Sequence[str], first: date, last: date, *, latencies: bool) -> list[tuple[Any, ...]]:
    marks = ", ".join(["%s"] * len(dimensions))
    return fetch(
        f"SELECT dimension, value, {of_rollups(latencies=latencies)} FROM usage_houseusage"  # noqa: S608
        f" WHERE dimension IN ({marks}) AND day >= %s AND day <= %s GROUP BY dimension, value"
        " HAVING SUM(requests) + SUM(refused) > 0",
        [*dimensions, first, last],
    )


def _dearest(dimension: str, first: date, last: date) -> list[tuple[Any, ...]]:
    return fetch(
        f"SELECT value, {of_rollups(latencies=False)} FROM usage_houseusage"  # noqa: S608
        " WHERE dimension = %s AND day >= %s AND day <= %s GROUP BY value HAVING SUM(requests) + SUM(refused) > 0"
        f" ORDER BY SUM(cost) DESC, SUM(requests) DESC, value LIMIT {MOST}",
        [dimension, first, last],
    )


def _rolled_series(first: date, last: date, interval: Interval) -> Iterable[tuple[Any, str, Sequence[Any]]]:
    dimension = "hour" if interval == "hour" else "provider"
    rows = fetch(
        f"SELECT day, value, {of_rollups(latencies=False)} FROM usage_houseusage"  # noqa: S608
        " WHERE dimension = %s AND day >= %s AND day <= %s GROUP BY day, value HAVING SUM(requests) + SUM(refused) > 0",
        [dimension, first, last],
    )
    for told, value, *amounts in rows:
        day = date.fromisoformat(str(told))
        if interval == "hour":
            yield day_bounds(day, "UTC")[0] + timedelta(hours=int(value)), "", amounts
        else:
            yield day, value, amounts


def _before(first: date, end: datetime) -> Totals:
    total = Totals()
    for _, _, *amounts in _rolled(("all",), first, end.date() - timedelta(days=1), latencies=True):
        total.add(amounts)
    since = max(day_bounds(first, "UTC")[0], reading.mark())
    for _, *amounts in _tail(("key_source",), since, end, latencies=True) if since < end else ():
        total.add(amounts)
    return total


def _add_tail(
    start: datetime,
    end: datetime,
    whole: Totals,
    by: dict[str, dict[Any, Totals]],
    points: dict[tuple[Any, Any], Point],
    interval: Interval,
) -> None:
    """Add the records that are not rolled up yet. One who is not among the dearest does not become so by them, if there
    are enough."""
    since = max(start, reading.mark())
    if since >= end:
        return
    for row in _tail(("provider", "model", "key_source", reading.HOUR_OF_RECORD), since, end, latencies=True):
        (provider, model, key_source, hour_told), amounts = row[:4], row[4:]
        whole.add(amounts)
        for name, value in zip(FEW, (provider, f"{provider}/{model}", key_source), strict=True):
            by[name].setdefault(value, Totals()).add(amounts)
        hour = reading.hour(hour_told)
        key = (hour, "") if interval == "hour" else (hour.date(), provider)
        points.setdefault(key, _point(key[0], key[1], ())).add(amounts[: len(SUMMED)])
    full = {name: len(by[name]) >= MOST for name in MANY}
    for row in _tail(("user_id", "team_id", "token_id", "tag"), since, end, latencies=False):
        for name, value in zip(MANY, row, strict=False):
            told = as_uuid(value) if name in _IDS else value
            if (name != "tag" or value) and (told in by[name] or not full[name]):
                by[name].setdefault(told, Totals()).add(row[len(MANY) :])


def _tail(by: Sequence[str], start: datetime, end: datetime, *, latencies: bool) -> list[tuple[Any, ...]]:
    named = ", ".join(by)
    return fetch(
        f"SELECT {named}, {of_records(latencies=latencies)} FROM usage_usagerecord"  # noqa: S608
        f" WHERE timestamp >= %s AND timestamp < %s GROUP BY {named}",
        [start, end],
    )


def _totals(amounts: Sequence[Any]) -> Totals:
    total = Totals()
    total.add(amounts)
    return total


def _point(at: Any, value: str, amounts: Sequence[Any]) -> Point:
    point = Point(at=at, value=value)
    point.add(amounts)
    return point
