"""When a period begins and ends: pure arithmetic on calendar days and months in a person's time zone."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from quotas.models import LimitType

# The demo quota comes back every day, so that a newcomer who used it up can go on tomorrow.
MONTHLY = frozenset({LimitType.MONTHLY})


def period(kind: str, now: datetime, zone: str) -> tuple[datetime, datetime]:
    """Return start and end, in UTC, of the day or month in `zone` that `now` lies in.

    The end is the next period's start, so a day on which the clocks change has 23 or 25 hours.
    """
    tz = ZoneInfo(zone)
    today = now.astimezone(tz).date()
    if kind in MONTHLY:
        first = today.replace(day=1)
        following = (first + timedelta(days=32)).replace(day=1)
    else:
        first, following = today, today + timedelta(days=1)
    start, end = (datetime.combine(day, time(), tz).astimezone(UTC) for day in (first, following))
    return start, end
