"""When a period begins and ends: pure arithmetic on calendar days and months in a person's time zone."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from quotas.models import LimitType

# The demo quota comes back every day, so that a newcomer who used it up can go on tomorrow.
MONTHLY = frozenset({LimitType.MONTHLY, LimitType.MONTHLY_BUDGET, LimitType.FALLBACK})
# The shortest day or month that the clocks' changes make, a little less for the month: whoever moves
# through time zones must not meet the start of a period more often than whoever stays.
SHORTEST_DAY = timedelta(hours=23)
SHORTEST_MONTH = timedelta(days=26)


def period(kind: str, now: datetime, zone: str, *, after: datetime | None = None) -> tuple[datetime, datetime]:
    """Return start and end, in UTC, of the day or month in `zone` that `now` lies in.

    The end is the next period's start, so a day on which the clocks change has 23 or 25 hours.
    `after` is the end of the period before, if there was one: where it lies within this one, because
    the person changed the time zone, this one begins there, and runs on to the end of the next if
    what is left of it would be shorter than any day or month is.
    """
    start, end = _calendar(kind, now, zone)
    if after is None or after <= start:
        return start, end
    shortest = SHORTEST_MONTH if kind in MONTHLY else SHORTEST_DAY
    return after, end if end - after >= shortest else _calendar(kind, end, zone)[1]


def _calendar(kind: str, now: datetime, zone: str) -> tuple[datetime, datetime]:
    tz = ZoneInfo(zone)
    today = now.astimezone(tz).date()
    if kind in MONTHLY:
        first = today.replace(day=1)
        following = (first + timedelta(days=32)).replace(day=1)
    else:
        first, following = today, today + timedelta(days=1)
    start, end = (datetime.combine(day, time(), tz).astimezone(UTC) for day in (first, following))
    return start, end
