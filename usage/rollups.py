"""Sums by hour and day, made from the records; safe to make again.

Everything before the mark is in them, but for what changed since: a record that comes later than its hour, or is
corrected, leaves word of that (usage.recorder.reopen), and the next run counts its hour anew. Days are those of each
user's own time zone, the house's days are UTC.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import Min

from usage.models import HourlyUsage, HouseUsage, ReopenedHour, RollupMark, UsageRecord
from usage.sums import COLUMNS, execute, fetch, of_records, of_rollups

HOUR = timedelta(hours=1)
# Longer than a record that is not late takes to be written (usage.recorder.LATE).
GRACE = timedelta(minutes=10)
HOURS_AT_ONCE = 24 * 31
# After so many rows a transaction ends, though its day be not over.
ROWS_AT_ONCE = 50_000
# Of each user and hour, so many tags are told apart.
TAGS_AN_HOUR = 100

KEY = ("user_id", "team_id", "token_id", "provider", "model", "key_source")
TAG_KEY = ("user_id", "team_id", "provider", "tag")
# What the house is told apart by: the table of hours, and what of its rows names the value.
HOUSE: dict[str, tuple[str, str]] = {
    "provider": ("usage_hourlyusage", "provider"),
    "model": ("usage_hourlyusage", "provider || '/' || model"),
    "key_source": ("usage_hourlyusage", "key_source"),
    "user": ("usage_hourlyusage", "CAST(user_id AS text)"),
    "team": ("usage_hourlyusage", "COALESCE(CAST(team_id AS text), '')"),
    "token": ("usage_hourlyusage", "COALESCE(CAST(token_id AS text), '')"),
    "tag": ("usage_hourlytags", "tag"),
}
_COLUMNS = ", ".join(COLUMNS)
_PEOPLE = "FROM usage_hourlyusage h LEFT JOIN accounts_user u ON u.id = h.user_id"
_ZONE = "COALESCE(u.time_zone, 'UTC')"


def roll_up(*, now: datetime) -> int:
    """Sum up every complete hour that is not yet or was reopened; return how many there were.

    An hour counts as complete GRACE after its end. A day at most makes a transaction.
    """
    first = UsageRecord.objects.aggregate(first=Min("timestamp"))["first"] or now
    RollupMark.objects.get_or_create(id=1, defaults={"rolled_until": hour_of(min(first, now))})
    until, rolled = hour_of(now - GRACE), 0
    while hours := _roll_reopened():
        rolled += hours
    while rolled < HOURS_AT_ONCE and (hours := _roll_next(until)):
        rolled += hours
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
def make_anew(hours: Iterable[datetime]) -> None:
    """Make these hours again, and the days that they lie in. The sums of hours whose records retention took stay."""
    mark = RollupMark.objects.select_for_update().filter(id=1).first()
    made = sorted(set(hours))
    _make(made, mark.kept_from if mark else None)
    for day in {hour.date() for hour in made}:
        HouseUsage.objects.filter(day=day).delete()
        begin, end = day_bounds(day, "UTC")
        for hour in HourlyUsage.objects.filter(hour__gte=begin, hour__lt=end).values_list("hour", flat=True).distinct():
            _add_to_house(hour, +1)


@transaction.atomic
def _roll_reopened() -> int:
    """Make some of the reopened hours anew, those of one day; return how many were reopened."""
    mark = RollupMark.objects.select_for_update().get(id=1)
    reopened = sorted(set(ReopenedHour.objects.order_by("hour").values_list("hour", flat=True)[:1000]))
    hours = list(next(groupby(reopened, key=datetime.date), (None, ()))[1])
    # Those of whom word comes from now on, from transactions that are open still, stay for the next run.
    ReopenedHour.objects.filter(hour__in=hours).delete()
    # Where retention took the records, the sums stay as they are.
    _make([hour for hour in hours if hour < mark.rolled_until and _has_records(hour)], mark.kept_from)
    return len(hours)


@transaction.atomic
def _roll_next(until: datetime) -> int:
    """Sum up hours from the mark on, to the end of their day in UTC at most, and move the mark past them and the
    idle hours that follow. Return how many there were."""
    mark = RollupMark.objects.select_for_update().get(id=1)
    if (hour := mark.rolled_until) >= until:
        return 0
    end = min(until, day_bounds(hour.date(), "UTC")[1])
    count, rows = 0, 0
    days: set[tuple[date, str]] = set()
    while hour < end and rows < ROWS_AT_ONCE:
        rows += _make_hour(hour)
        days |= _days_in(hour)
        count += 1
        following = UsageRecord.objects.filter(timestamp__gte=hour + HOUR).aggregate(first=Min("timestamp"))["first"]
        hour = min(until, hour_of(following)) if following else until
    _make_days(days)
    mark.rolled_until = hour
    mark.save(update_fields=["rolled_until"])
    return count


def _make(hours: list[datetime], kept_from: datetime | None) -> None:
    days: set[tuple[date, str]] = set()
    for hour in hours:
        days |= _days_in(hour)
        if kept_from is None or hour >= kept_from:
            _make_hour(hour)
            days |= _days_in(hour)
    _make_days(days)


def _has_records(hour: datetime) -> bool:
    return UsageRecord.objects.filter(timestamp__gte=hour, timestamp__lt=hour + HOUR).exists()


def _make_hour(hour: datetime) -> int:
    """Sum up an hour, in place of what was summed up before; return how many rows that makes."""
    if HourlyUsage.objects.filter(hour=hour).exists():
        _add_to_house(hour, -1)
        execute("DELETE FROM usage_hourlyusage WHERE hour = %s", [hour])
    execute("DELETE FROM usage_hourlytags WHERE hour = %s", [hour])
    key, tag_key = ", ".join(KEY), ", ".join(TAG_KEY)
    of_hour = "FROM usage_usagerecord WHERE timestamp >= %s AND timestamp < %s"
    rows = execute(
        f"INSERT INTO usage_hourlyusage ({key}, hour, {_COLUMNS})"
        f" SELECT {key}, %s, {of_records()} {of_hour} GROUP BY {key}",
        [hour, hour, hour + HOUR],
    )
    ranked = (
        "SELECT user_id, tag, ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY COUNT(*) DESC, tag) AS place"
        f" {of_hour} AND tag <> '' GROUP BY user_id, tag"
    )
    execute(
        f"INSERT INTO usage_hourlytags ({tag_key}, hour, {_COLUMNS})"  # noqa: S608
        f" SELECT {tag_key}, %s, {of_records()} {of_hour} AND tag <> ''"
        f" AND (user_id, tag) IN (SELECT user_id, tag FROM ({ranked}) ranked WHERE place <= {TAGS_AN_HOUR})"
        f" GROUP BY {tag_key}",
        [hour, hour, hour + HOUR, hour, hour + HOUR],
    )
    _add_to_house(hour, +1)
    return rows


def _add_to_house(hour: datetime, sign: int) -> None:
    """Add an hour to the house's day, or with -1 take it out."""
    _add(hour, sign, "all", "", "usage_hourlyusage")
    _add(hour, sign, "hour", f"{hour:%H}", "usage_hourlyusage")
    for dimension, (table, value) in HOUSE.items():
        _add(hour, sign, dimension, None, table, value)


def _add(hour: datetime, sign: int, dimension: str, fixed: str | None, table: str, value: str = "%s") -> None:
    sums = ", ".join(f"{sign} * SUM({name})" for name in COLUMNS)
    added = ", ".join(f"{name} = usage_houseusage.{name} + excluded.{name}" for name in COLUMNS)
    execute(
        f"INSERT INTO usage_houseusage (day, dimension, value, {_COLUMNS})"  # noqa: S608
        f" SELECT %s, %s, {value}, {sums} FROM {table} WHERE hour = %s GROUP BY hour"
        f"{'' if fixed is not None else ', ' + value}"
        f" ON CONFLICT (dimension, day, value) DO UPDATE SET {added}",
        [hour.date(), dimension, *([] if fixed is None else [fixed]), hour],
    )


def _days_in(hour: datetime) -> set[tuple[date, str]]:
    """Return the day that this hour begins in for each time zone that somebody with sums in it lives in. Who is gone
    counts in UTC."""
    zones = fetch(f"SELECT DISTINCT {_ZONE} {_PEOPLE} WHERE h.hour = %s", [hour])
    return {(hour.astimezone(ZoneInfo(zone)).date(), zone) for (zone,) in zones}


def _make_days(days: Iterable[tuple[date, str]]) -> None:
    for day, zone in sorted(days):
        _make_day(day, zone)


def _make_day(day: date, zone: str) -> None:
    """Sum up a day in this zone of those who live in it."""
    begin, end = day_bounds(day, zone)
    people = f"(SELECT h.user_id {_PEOPLE} WHERE h.hour >= %s AND h.hour < %s AND {_ZONE} = %s)"
    key, own = ", ".join(KEY), ", ".join(f"h.{name}" for name in KEY)
    execute(
        f"DELETE FROM usage_dailyusage WHERE day = %s AND user_id IN {people}",  # noqa: S608
        [day, begin, end, zone],
    )
    execute(
        f"INSERT INTO usage_dailyusage ({key}, day, {_COLUMNS})"
        f" SELECT {own}, %s, {of_rollups()} {_PEOPLE}"
        f" WHERE h.hour >= %s AND h.hour < %s AND {_ZONE} = %s GROUP BY {own}",
        [day, begin, end, zone],
    )
