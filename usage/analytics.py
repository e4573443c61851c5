"""What a user used and spent: the rollups, and the records that are not in them yet."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from django.db.models import Count, Model, Q, QuerySet, Sum
from django.db.models.functions import TruncHour

from digitalme.accounts.models import User
from usage.models import DailyUsage, HourlyUsage, RollupMark, UsageRecord
from usage.rollups import FAILURES, HOUR, SUMMED, day_bounds, hour_of

Row = TypeVar("Row", bound=Model)
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_FROM_ROLLUPS: dict[str, Any] = {f"sum_{name}": Sum(name) for name in SUMMED}
_FROM_RECORDS: dict[str, Any] = {f"sum_{name}": Sum(name) for name in SUMMED[4:]} | {
    "sum_requests": Count("pk", filter=~Q(status=UsageRecord.Status.REFUSED)),
    "sum_failed": Count("pk", filter=Q(status__in=FAILURES)),
    "sum_refused": Count("pk", filter=Q(status=UsageRecord.Status.REFUSED)),
    "sum_unpriced": Count("pk", filter=Q(cost=None)),
}


@dataclass(slots=True)
class Totals:
    """Sums over calls. `requests` leaves out the refused ones; `cost` is in US dollars, without those
    `unpriced` calls whose model has no known price."""

    requests: int = 0
    failed: int = 0
    refused: int = 0
    unpriced: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost: Decimal = Decimal(0)
    response_ms: int = 0

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

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row of a query that sums up."""
        for name in SUMMED:
            amount = row[f"sum_{name}"] or 0
            setattr(self, name, getattr(self, name) + (amount if name == "cost" else int(amount)))


@dataclass(slots=True, kw_only=True)
class Point(Totals):
    """The sums of one calendar day and provider."""

    day: date
    provider: str


def today(user: User, now: datetime) -> Totals:
    """Return the sums since midnight in the user's time zone."""
    begin, end = day_bounds(now.astimezone(ZoneInfo(user.time_zone)).date(), user.time_zone)
    return summary(user, begin, end)


def summary(user: User, start: datetime, end: datetime, provider: str | None = None) -> Totals:
    """Return the exact sums of calls that began in [start, end), to one provider or to all."""
    totals = Totals()
    for row in _rows(user, start, end, provider):
        totals.add(row)
    return totals


def breakdown(user: User, start: datetime, end: datetime, by: str, provider: str | None = None) -> dict[str, Totals]:
    """Return the exact sums of calls that began in [start, end) by provider, model or key_source."""
    found: dict[str, Totals] = {}
    for row in _rows(user, start, end, provider, by):
        found.setdefault(row[by], Totals()).add(row)
    return found


def series(user: User, first: date, last: date, now: datetime, provider: str | None = None) -> list[Point]:
    """Return a point for each day from first to last, both included, and provider that had calls; by day.

    Days that are rolled up were counted in the time zone that the user had then; an hour belongs to the
    day that it begins in.
    """
    zone = ZoneInfo(user.time_zone)
    mark = _mark()
    unrolled = max(first, min(mark.astimezone(zone).date(), last + timedelta(days=1)))
    points: dict[tuple[date, str], Point] = {}
    daily = _narrowed(DailyUsage.objects.filter(user_id=user.pk, day__gte=first, day__lt=unrolled), provider)
    for row in daily.values("day", "provider").annotate(**_FROM_ROLLUPS):
        _point(points, row["day"], row["provider"]).add(row)
    if unrolled <= last:
        begin, end = day_bounds(unrolled, user.time_zone)[0], day_bounds(last, user.time_zone)[1]
        begin = begin if begin == hour_of(begin) else hour_of(begin) + HOUR
        for sums in _hours(user, begin, min(end, now + HOUR), mark, provider):
            _point(points, sums["hour"].astimezone(zone).date(), sums["provider"]).add(sums)
    return [points[key] for key in sorted(points)]


def daily_by_provider(user: User, first: date, last: date, now: datetime) -> list[Point]:
    """Return `series` of all providers."""
    return series(user, first, last, now)


def _point(points: dict[tuple[date, str], Point], day: date, provider: str) -> Point:
    return points.setdefault((day, provider), Point(day=day, provider=provider))


def _mark() -> datetime:
    """Return the time before which every record is rolled up."""
    return RollupMark.objects.filter(id=1).values_list("rolled_until", flat=True).first() or _NEVER


def _rows(user: User, start: datetime, end: datetime, provider: str | None, *by: str) -> Iterator[Mapping[str, Any]]:
    """Yield sums that together are those of [start, end): whole rolled hours, and records at the edges."""
    first = hour_of(start) if start == hour_of(start) else hour_of(start) + HOUR
    last = min(hour_of(end), _mark())
    if first >= last:
        first = last = start
    hours = HourlyUsage.objects.filter(user_id=user.pk, hour__gte=first, hour__lt=last)
    yield from _narrowed(hours, provider).values(*by or ("user_id",)).annotate(**_FROM_ROLLUPS)
    for begin, until in ((start, first), (last, end)):
        if begin < until:
            yield from _records(user, begin, until, provider).values(*by or ("user_id",)).annotate(**_FROM_RECORDS)


def _hours(
    user: User, start: datetime, end: datetime, mark: datetime, provider: str | None
) -> Iterable[Mapping[str, Any]]:
    """Yield sums by hour and provider; `start` is a full hour."""
    rolled = HourlyUsage.objects.filter(user_id=user.pk, hour__gte=start, hour__lt=min(end, mark))
    yield from _narrowed(rolled, provider).values("hour", "provider").annotate(**_FROM_ROLLUPS)
    tail = _records(user, max(start, mark), end, provider).annotate(hour=TruncHour("timestamp", tzinfo=UTC))
    yield from tail.values("hour", "provider").annotate(**_FROM_RECORDS)


def _records(user: User, start: datetime, end: datetime, provider: str | None) -> QuerySet[UsageRecord]:
    found = UsageRecord.objects.filter(user_id=user.pk, timestamp__gte=start, timestamp__lt=end)
    return _narrowed(found, provider).order_by()


def _narrowed(rows: QuerySet[Row], provider: str | None) -> QuerySet[Row]:
    return rows if provider is None else rows.filter(provider=provider)
