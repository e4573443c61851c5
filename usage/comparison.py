"""Whether the rollups are what the records add up to, and where they are not."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Min

from digitalme.database import as_uuid
from usage import rollups
from usage.models import DailyUsage, HourlyUsage, RollupMark, UsageRecord
from usage.rollups import HOUR, HOUSE, KEY, TAG_KEY, day_bounds, hour_of
from usage.sums import COLUMNS, fetch, of_records, of_rollups

Query = tuple[str, list[Any]]
_COLUMNS = ", ".join(COLUMNS)
_KEY, _TAG_KEY = ", ".join(KEY), ", ".join(TAG_KEY)
_OF_HOUR = "FROM usage_usagerecord WHERE timestamp >= %s AND timestamp < %s"


class Difference(NamedTuple):
    """Sums that are not what they are made of: in which table, and of which hour, UTC day or person."""

    table: str
    what: str
    hour: datetime | None = None
    day: date | None = None
    user_id: UUID | None = None

    def __str__(self) -> str:
        return f"{self.table}: {self.what}"


def differences() -> Iterator[Difference]:
    """Yield what differs among the hours that are rolled up and whose records are kept still."""
    first = UsageRecord.objects.aggregate(first=Min("timestamp"))["first"]
    mark = RollupMark.objects.filter(id=1).first()
    if first is None or mark is None:
        return
    span = max(hour_of(first), mark.kept_from or hour_of(first)), mark.rolled_until
    hours = sorted(_with_records(*span) | _rolled(*span))
    for hour in hours:
        yield from _hour(hour)
    yield from _people()
    for day in sorted({hour.date() for hour in hours}):
        yield from _house(day)


@transaction.atomic
def repair(found: Sequence[Difference]) -> None:
    """Make anew what differs."""
    for user_id in {one.user_id for one in found if one.user_id}:
        DailyUsage.objects.filter(user_id=user_id).delete()
    hours = {one.hour for one in found if one.hour}
    for one in found:
        mine = HourlyUsage.objects.order_by().values_list("hour", flat=True).distinct()
        if one.day:
            begin, end = day_bounds(one.day, "UTC")
            hours |= set(mine.filter(hour__gte=begin, hour__lt=end))
        if one.user_id:
            hours |= set(mine.filter(user_id=one.user_id))
    rollups.make_anew(hours)


def _with_records(begin: datetime, end: datetime) -> set[datetime]:
    hours = set()
    while begin < end:
        found = UsageRecord.objects.filter(timestamp__gte=begin, timestamp__lt=end).aggregate(first=Min("timestamp"))
        if found["first"] is None:
            break
        hours.add(hour_of(found["first"]))
        begin = hour_of(found["first"]) + HOUR
    return hours


def _rolled(begin: datetime, end: datetime) -> set[datetime]:
    return set(HourlyUsage.objects.filter(hour__gte=begin, hour__lt=end).values_list("hour", flat=True).distinct())


def _hour(hour: datetime) -> Iterator[Difference]:
    span = [hour, hour + HOUR]
    made = (f"SELECT {_KEY}, {of_records()} {_OF_HOUR} GROUP BY {_KEY}", span)
    kept = (f"SELECT {_KEY}, {_COLUMNS} FROM usage_hourlyusage WHERE hour = %s", [hour])  # noqa: S608
    for row in _differing(made, kept, KEY):
        yield Difference("usage_hourlyusage", f"{hour:%Y-%m-%d %H}h of {row}", hour=hour)
    known = "AND (user_id, tag) IN (SELECT user_id, tag FROM usage_hourlytags WHERE hour = %s)"
    made = (f"SELECT {_TAG_KEY}, {of_records()} {_OF_HOUR} {known} GROUP BY {_TAG_KEY}", [*span, hour])
    kept = (f"SELECT {_TAG_KEY}, {_COLUMNS} FROM usage_hourlytags WHERE hour = %s", [hour])  # noqa: S608
    for row in _differing(made, kept, TAG_KEY):
        yield Difference("usage_hourlytags", f"{hour:%Y-%m-%d %H}h of {row}", hour=hour)


def _people() -> Iterator[Difference]:
    """Hold all days of a person against all hours: whoever moves to another time zone has days of both."""
    hours, days = _by_person("usage_hourlyusage"), _by_person("usage_dailyusage")
    for row in _differing(hours, days, ("user_id",)):
        yield Difference("usage_dailyusage", f"the days of {row}", user_id=as_uuid(row))


def _by_person(table: str) -> Query:
    return f"SELECT user_id, {of_rollups()} FROM {table} GROUP BY user_id", []  # noqa: S608


def _house(day: date) -> Iterator[Difference]:
    begin, end = day_bounds(day, "UTC")
    anything = " OR ".join(f"{name} <> 0" for name in COLUMNS)
    for dimension in ("all", *HOUSE):
        table, value = HOUSE.get(dimension, ("usage_hourlyusage", "''"))
        grouped = " HAVING COUNT(*) > 0" if dimension == "all" else f" GROUP BY {value}"
        of_day = f"FROM {table} WHERE hour >= %s AND hour < %s{grouped}"
        made = (f"SELECT {value}, {of_rollups()} {of_day}", [begin, end])
        kept = (
            f"SELECT value, {_COLUMNS} FROM usage_houseusage WHERE dimension = %s AND day = %s AND ({anything})",  # noqa: S608
            [dimension, day],
        )
        for row in _differing(made, kept, ("value",)):
            yield Difference("usage_houseusage", f"{day} by {dimension}: {row}", day=day)


def _differing(made: Query, kept: Query, key: tuple[str, ...]) -> list[str]:
    """Return what identifies the rows that only one of the two has."""
    found: set[str] = set()
    for one, other in ((made, kept), (kept, made)):
        for row in fetch(f"{one[0]} EXCEPT {other[0]}", [*one[1], *other[1]]):
            found.add(", ".join(str(value) for value in row[: len(key)] if value not in (None, "")))
    return sorted(found)
