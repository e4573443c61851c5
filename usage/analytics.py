"""What somebody used and spent: the rollups, and the records that are not in them yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, cast
from zoneinfo import ZoneInfo

from digitalme.accounts.models import Team, User
from digitalme.database import as_uuid, from_nano
from usage import latency, reading
from usage.reading import Part, Rolled, Wanted, Whose
from usage.rollups import HOUR, day_bounds, hour_of
from usage.sums import SUMMED, of_rollups

Interval = Literal["hour", "day"]
# What a report is broken down by, and the column that tells it. A team's knows its members beside.
DIMENSIONS = {"provider": "provider", "model": "model", "key_source": "key_source", "token": "token_id"}
OF_MEMBERS = {"user": "user_id"}
MOST_TAGS = 50
_COLUMNS = DIMENSIONS | OF_MEMBERS
_IDS = ("token_id", "user_id")
_DAY = "CAST(day AS text)"


@dataclass(slots=True)
class Totals:
    """Sums over calls. `requests` leaves out the refused ones; `cost` is in US dollars, without those
    `unpriced` calls whose model has no known price; `counted` and `estimated` calls have token numbers that the
    provider did not tell."""

    requests: int = 0
    failed: int = 0
    refused: int = 0
    unpriced: int = 0
    counted: int = 0
    estimated: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost: Decimal = Decimal(0)
    response_ms: int = 0
    latencies: list[int] = field(default_factory=lambda: [0] * len(latency.COLUMNS))

    @property
    def total_tokens(self) -> int:
        """Input and output."""
        return self.input_tokens + self.output_tokens

    @property
    def unsuccessful(self) -> int:
        """Calls that failed or were refused."""
        return self.failed + self.refused

    @property
    def average_response_ms(self) -> int:
        """Milliseconds until the end of a call, on average."""
        return self.response_ms // self.requests if self.requests else 0

    @property
    def p50_response_ms(self) -> int | None:
        """Milliseconds within which half of the calls ended, as near as usage.latency tells; None if unknown."""
        return latency.percentile(self.latencies, 0.5)

    @property
    def p95_response_ms(self) -> int | None:
        """Milliseconds within which 95 of 100 calls ended, as near as usage.latency tells; None if unknown."""
        return latency.percentile(self.latencies, 0.95)

    def add(self, row: Sequence[Any]) -> None:
        """Add a row of sums in the order of usage.sums, with latencies or without."""
        for name, amount in zip(SUMMED, row, strict=False):
            more = int(amount or 0)
            setattr(self, name, getattr(self, name) + (from_nano(more) if name == "cost" else more))
        for place, amount in enumerate(row[len(SUMMED) :]):
            self.latencies[place] += int(amount or 0)

    def merge(self, other: "Totals") -> None:
        """Add other sums."""
        for name in SUMMED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.latencies = [one + more for one, more in zip(self.latencies, other.latencies, strict=True)]


@dataclass(slots=True, kw_only=True)
class Point(Totals):
    """The sums of one calendar day, or of one hour in UTC (`at`), of the calls with one `value` of a dimension."""

    at: Any
    value: Any

    @property
    def day(self) -> date:
        """The calendar day of a point that stands for one."""
        return cast("date", self.at)

    @property
    def provider(self) -> str:
        """The provider of a point of a series by provider."""
        return str(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReport:
    """Calls that began in [start, end): over all, by each dimension, by hour or day, and those of the period of the
    same length `before`. In `by`, each dimension's values come in the order of what they cost; the ids of tokens and
    users are UUIDs, None where there was none; calls without a tag, or with one of the rare tags of a busy hour, have
    the tag ''."""

    start: datetime
    end: datetime
    total: Totals
    before: Totals
    by: Mapping[str, Mapping[Any, Totals]]
    series: Sequence[Point] = ()

    def change(self, name: str) -> float | None:
        """Return by which share a sum grew (1.0: it doubled) since the period before; None if that had none."""
        was, now = getattr(self.before, name), getattr(self.total, name)
        return float((now - was) / was) if was else None


def of_user(user: User) -> Whose:
    """Mean a person's calls, whichever key paid."""
    return Whose("user_id", user.pk)


def of_team(team: Team) -> Whose:
    """Mean the calls of all members on the team's keys."""
    return Whose("team_id", team.pk)


def today(user: User, now: datetime, known: Rolled | None = None) -> Totals:
    """Return the sums since midnight in the user's time zone."""
    begin, end = day_bounds(now.astimezone(ZoneInfo(user.time_zone)).date(), user.time_zone)
    return totals(Wanted(of_user(user), begin, end), known)


def totals(wanted: Wanted, known: Rolled | None = None) -> Totals:
    """Return the exact sums of these calls."""
    total = Totals()
    for row in reading.sums(wanted, known or reading.rolled(), latencies=True):
        total.add(row)
    return total


def report(wanted: Wanted, *, zone: str, now: datetime | None = None, by: str = "provider") -> UsageReport:
    """Return everything about these calls, exact at any time. With `now` a series tells the calls of each value of the
    dimension `by` in each whole day of the zone that the span touches."""
    known = reading.rolled()
    whole, broken_down = _broken_down(wanted, known)
    broken_down["tag"] = _tags(wanted, known, whole)
    before = totals(wanted._replace(start=wanted.start - (wanted.end - wanted.start), end=wanted.start), known)
    points: list[Point] = []
    if now:
        days = days_of(wanted, zone)
        points = daily(
            wanted.whose, *days, zone=zone, now=now, by=by, provider=wanted.provider, known=known, latencies=True
        )
    return UsageReport(start=wanted.start, end=wanted.end, total=whole, before=before, by=broken_down, series=points)


def days_of(wanted: Wanted, zone: str) -> tuple[date, date]:
    """Return the first and the last calendar day, in the zone, that the span touches."""
    tz = ZoneInfo(zone)
    return wanted.start.astimezone(tz).date(), (wanted.end - timedelta(microseconds=1)).astimezone(tz).date()


def _broken_down(wanted: Wanted, known: Rolled) -> tuple[Totals, dict[str, dict[Any, Totals]]]:
    dimensions = DIMENSIONS | (OF_MEMBERS if wanted.whose.column == "team_id" else {})
    whole, columns = Totals(), tuple(dimensions.values())
    by: dict[str, dict[Any, Totals]] = {name: {} for name in dimensions}
    for row in reading.sums(wanted, known, columns, latencies=True):
        amounts = row[len(columns) :]
        whole.add(amounts)
        for name, column, value in zip(dimensions, columns, row, strict=False):
            by[name].setdefault(as_uuid(value) if column in _IDS else value, Totals()).add(amounts)
    return whole, {name: dearest_first(found) for name, found in by.items()}


def _tags(wanted: Wanted, known: Rolled, whole: Totals) -> dict[Any, Totals]:
    found: dict[Any, Totals] = {}
    for tag, *amounts in reading.sums(wanted, known, ("tag",), tags=True):
        found.setdefault(tag, Totals()).add(amounts)
    told = dict(list(dearest_first(found).items())[:MOST_TAGS])
    rest = Totals(**{name: getattr(whole, name) - sum(getattr(one, name) for one in told.values()) for name in SUMMED})
    return told | ({"": rest} if rest.requests or rest.refused else {})


def dearest_first(found: Mapping[Any, Totals]) -> dict[Any, Totals]:
    """Return the values in the order of what they cost, then of how much they were used."""
    return dict(sorted(found.items(), key=lambda one: (-one[1].cost, -one[1].requests, str(one[0]))))


def daily(
    whose: Whose,
    first: date,
    last: date,
    *,
    zone: str,
    now: datetime,
    by: str = "provider",
    provider: str | None = None,
    known: Rolled | None = None,
    latencies: bool = False,
) -> list[Point]:
    """Return a point for each day of the zone, from first to last, both included, and value of the dimension that had
    calls; by day; one query. Without `latencies` the points do not know how long calls took.

    A person's days that are rolled up were counted in the time zone that they had then; an hour belongs to the day
    that it begins in.
    """
    known, column = known or reading.rolled(), _COLUMNS[by]
    until = min(_next_hour(day_bounds(last, zone)[1]), now + HOUR)
    asked = _by_day(whose, first, until, zone, column, provider, known, latencies=latencies)
    return _points(asked, column, ZoneInfo(zone))


def hourly(
    wanted: Wanted, *, by: str = "provider", known: Rolled | None = None, latencies: bool = False
) -> list[Point]:
    """Return a point for each hour, in UTC, and value of the dimension that had calls; by hour; one query."""
    known, column = known or reading.rolled(), _COLUMNS[by]
    return _points(_by_hour(wanted, column, known, latencies=latencies), column)


def course(
    whose: Whose,
    first: date,
    last: date,
    *,
    zone: str,
    now: datetime,
    by: str = "provider",
    provider: str | None = None,
    known: Rolled | None = None,
) -> UsageReport:
    """Return what a chart of these days of the zone needs, in two queries: the series by day, or of a single day by
    hour, broken down by one dimension; and the sums of as many days before, as far as these days went by now."""
    known, days = known or reading.rolled(), (last - first).days + 1
    start, end = day_bounds(first, zone)[0], min(day_bounds(last, zone)[1], now)
    if days == 1:
        begin, until = map(_next_hour, day_bounds(first, zone))
        points = hourly(Wanted(whose, begin, until, provider), by=by, known=known, latencies=True)
    else:
        points = daily(whose, first, last, zone=zone, now=now, by=by, provider=provider, known=known, latencies=True)
    whole, before, found = Totals(), Totals(), dict[Any, Totals]()
    for point in points:
        whole.merge(point)
        found.setdefault(point.value, Totals()).merge(point)
    earlier, column = first - timedelta(days=days), _COLUMNS[by]
    until = day_bounds(earlier, zone)[0] + (end - start)
    asked = _by_day(whose, earlier, until, zone, column, provider, known, latencies=True)
    for point in _points(asked, column, ZoneInfo(zone)):
        before.merge(point)
    return UsageReport(start=start, end=end, total=whole, before=before, by={by: dearest_first(found)}, series=points)


def daily_by_provider(user: User, first: date, last: date, now: datetime, known: Rolled | None = None) -> list[Point]:
    """Return `daily` of a person, in their own time zone."""
    return daily(of_user(user), first, last, zone=user.time_zone, now=now, known=known)


def _by_day(
    whose: Whose,
    first: date,
    until: datetime,
    zone: str,
    column: str,
    provider: str | None,
    known: Rolled,
    *,
    latencies: bool,
) -> list[Part]:
    """Ask for the days from first on, those of a person that are rolled up as days, and for the hours of the rest."""
    tz, begin, asked = ZoneInfo(zone), first, list[Part]()
    if whose.column == "user_id":
        whole = min(until, known.until, *known.reopened).astimezone(tz).date()
        if begin < whole:
            asked.append(_days(whose, begin, whole, column, provider, latencies=latencies))
            begin = whole
    start = _next_hour(day_bounds(begin, zone)[0])
    return asked + _by_hour(Wanted(whose, start, until, provider), column, known, latencies=latencies)


def _days(whose: Whose, first: date, end: date, column: str, provider: str | None, *, latencies: bool) -> Part:
    of_provider, given = ("", []) if provider is None else (" AND provider = %s", [provider])
    where = f"user_id = %s AND day >= %s AND day < %s{of_provider}"
    told = (_DAY, column)
    return reading.select(of_rollups(latencies=latencies), "usage_dailyusage", where, told), [
        whose.id,
        first,
        end,
        *given,
    ]


def _by_hour(wanted: Wanted, column: str, known: Rolled, *, latencies: bool) -> list[Part]:
    if wanted.start >= wanted.end:
        return []
    return reading.parts(wanted, known, ("hour", column), latencies=latencies)


def _points(asked: Sequence[Part], column: str, tz: ZoneInfo | None = None) -> list[Point]:
    """Return a point for each day in the zone, or without one for each hour in UTC, and value."""
    points: dict[tuple[Any, Any], Point] = {}
    for told, value, *amounts in reading.together(asked):
        at: Any
        if len(told) == len("2026-11-25"):
            at = date.fromisoformat(told)
        else:
            hour = reading.hour(told)
            at = hour.astimezone(tz).date() if tz else hour
        _add(points, at, value, column, amounts)
    return _in_order(points)


def _next_hour(moment: datetime) -> datetime:
    return moment if moment == hour_of(moment) else hour_of(moment) + HOUR


def _in_order(points: Mapping[tuple[Any, Any], Point]) -> list[Point]:
    return [points[key] for key in sorted(points, key=lambda one: (one[0], str(one[1])))]


def _add(points: dict[tuple[Any, Any], Point], at: Any, value: Any, column: str, amounts: Sequence[Any]) -> None:
    told = as_uuid(value) if column in _IDS else value
    points.setdefault((at, told), Point(at=at, value=told)).add(amounts)
