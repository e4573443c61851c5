"""Sums by hour and day, made from the records; safe to make again.

Everything before the mark is in them. A record that comes later than its hour takes the mark back
(usage.recorder), so the next run counts that hour and what follows anew.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection, transaction
from django.db.models import Min

from digitalme.database import parameters
from usage.models import RollupMark, UsageRecord

HOUR = timedelta(hours=1)
# Longer than a record that is not late takes to be written (usage.recorder.LATE).
GRACE = timedelta(minutes=10)
HOURS_AT_ONCE = 24 * 31

SUMMED = (
    "requests",
    "failed",
    "refused",
    "unpriced",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cost",
    "response_ms",
)
FAILURES = (UsageRecord.Status.FAILED, UsageRecord.Status.CUT, UsageRecord.Status.SWEPT)
_FAILURES = ", ".join(f"'{status.value}'" for status in FAILURES)
# How each sum comes from records. Those of refused calls count as refused and as nothing else.
FROM_RECORDS: dict[str, str] = {
    "requests": "SUM(CASE WHEN status = 'refused' THEN 0 ELSE 1 END)",
    "failed": f"SUM(CASE WHEN status IN ({_FAILURES}) THEN 1 ELSE 0 END)",
    "refused": "SUM(CASE WHEN status = 'refused' THEN 1 ELSE 0 END)",
    "unpriced": "SUM(CASE WHEN cost IS NULL THEN 1 ELSE 0 END)",
    "input_tokens": "SUM(input_tokens)",
    "output_tokens": "SUM(output_tokens)",
    "cached_tokens": "SUM(cached_tokens)",
    "reasoning_tokens": "SUM(reasoning_tokens)",
    "cost": "COALESCE(SUM(cost), 0)",
    "response_ms": "COALESCE(SUM(response_ms), 0)",
}
_COLUMNS = ", ".join(SUMMED)
_PEOPLE = "FROM usage_hourlyusage h LEFT JOIN accounts_user u ON u.id = h.user_id"
_ZONE = "COALESCE(u.time_zone, 'UTC')"
_SUMS = ", ".join(f"SUM(h.{name})" for name in SUMMED)


def roll_up(*, now: datetime) -> int:
    """Sum up every complete hour that is not yet; return how many there were.

    An hour counts as complete GRACE after its end. Each is a transaction of its own, so settlements
    of long calls wait for a short one at most.
    """
    first = UsageRecord.objects.aggregate(first=Min("timestamp"))["first"] or now
    RollupMark.objects.get_or_create(id=1, defaults={"rolled_until": hour_of(min(first, now))})
    until, rolled = hour_of(now - GRACE), 0
    while rolled < HOURS_AT_ONCE and _roll_next(until):
        rolled += 1
    return rolled


def hour_of(moment: datetime) -> datetime:
    """Return the beginning of the hour, in UTC."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def day_bounds(day: date, zone: str) -> tuple[datetime, datetime]:
    """Return the beginning of the day and of the next one in the zone, in UTC."""
    tz = ZoneInfo(zone)
    begin, end = (datetime.combine(one, time(), tz).astimezone(UTC) for one in (day, day + timedelta(days=1)))
    return begin, end


@transaction.atomic
def _roll_next(until: datetime) -> bool:
    """Sum up the hour at the mark and move the mark past it and the idle hours that follow."""
    mark = RollupMark.objects.select_for_update().get(id=1)
    hour = mark.rolled_until
    if hour >= until:
        return False
    zones = _zones_in(hour)
    _make_hour(hour)
    for zone in zones | _zones_in(hour):
        _make_day(hour, zone)
    following = UsageRecord.objects.filter(timestamp__gte=hour + HOUR).aggregate(first=Min("timestamp"))["first"]
    mark.rolled_until = min(until, hour_of(following)) if following else until
    mark.save(update_fields=["rolled_until"])
    return True


def _make_hour(hour: datetime) -> None:
    sums = ", ".join(FROM_RECORDS[name] for name in SUMMED)
    _execute("DELETE FROM usage_hourlyusage WHERE hour = %s", [hour])
    _execute(
        f"INSERT INTO usage_hourlyusage (user_id, provider, model, key_source, hour, {_COLUMNS})"  # noqa: S608
        f" SELECT user_id, provider, model, key_source, %s, {sums} FROM usage_usagerecord"
        " WHERE timestamp >= %s AND timestamp < %s GROUP BY user_id, provider, model, key_source",
        [hour, hour, hour + HOUR],
    )


def _zones_in(hour: datetime) -> set[str]:
    """Return the time zones of those who have sums in this hour; who is gone counts in UTC."""
    rows = _fetch(
        f"SELECT DISTINCT {_ZONE} {_PEOPLE} WHERE h.hour = %s",
        [hour],
    )
    return {row[0] for row in rows}


def _make_day(hour: datetime, zone: str) -> None:
    """Sum up the day, in this zone, that the hour begins in, of those who live in it."""
    day = hour.astimezone(ZoneInfo(zone)).date()
    begin, end = day_bounds(day, zone)
    people = f"(SELECT h.user_id {_PEOPLE} WHERE h.hour >= %s AND h.hour < %s AND {_ZONE} = %s)"
    _execute(
        f"DELETE FROM usage_dailyusage WHERE day = %s AND user_id IN {people}",  # noqa: S608
        [day, begin, end, zone],
    )
    _execute(
        f"INSERT INTO usage_dailyusage (user_id, provider, model, key_source, day, {_COLUMNS})"
        f" SELECT h.user_id, h.provider, h.model, h.key_source, %s, {_SUMS} {_PEOPLE}"
        f" WHERE h.hour >= %s AND h.hour < %s AND {_ZONE} = %s"
        " GROUP BY h.user_id, h.provider, h.model, h.key_source",
        [day, begin, end, zone],
    )


def _execute(query: str, values: Sequence[Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters(_plain(values)))


def _fetch(query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters(_plain(values)))
        return list(cursor.fetchall())


def _plain(values: Iterable[Any]) -> list[Any]:
    """SQLite's driver takes a day as text only."""
    text = connection.vendor == "sqlite"
    return [
        one.isoformat() if text and isinstance(one, date) and not isinstance(one, datetime) else one for one in values
    ]
