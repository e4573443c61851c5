"""What somebody used hour by hour, as forecasts learn from it."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from digitalme.database import as_uuid
from usage import reading
from usage.analytics import Totals
from usage.forecast import History
from usage.reading import Wanted, Whose
from usage.rollups import HOUR, hour_of

BY = ("hour", "provider", "key_source", "token_id")
# A quarter of a year tells the week; older ones cost time.
DAYS = 91


class Hour(NamedTuple):
    """What one hour's calls to one provider by one kind of key and one token used. Cost is in US dollars."""

    hour: datetime
    provider: str
    key_source: str
    token_id: UUID | None
    requests: float
    tokens: float
    cost: float


def hours(whose: Whose, *, now: datetime) -> list[Hour]:
    """Return the hours of the last 13 weeks that are over, those without calls left out: out of the rollups, and out of
    records where those do not reach."""
    end = hour_of(now)
    wanted = Wanted(whose, end - timedelta(days=DAYS), end)
    return [_hour(row) for row in reading.sums(wanted, reading.rolled(), BY)]


def history(found: Iterable[Hour], amount: Callable[[Hour], float], step: timedelta, *, end: datetime) -> History:
    """Sum up hours in steps that end at `end`, the whole hour before which they all lie: a step of a day runs from that
    hour of the day to the next, so the day that is not over is no gap."""
    count = timedelta(days=DAYS) // step
    amounts = [0.0] * count
    for one in found:
        back = (end - one.hour - HOUR) // step
        if 0 <= back < count:
            amounts[count - 1 - back] += max(amount(one), 0.0)
    return History(end - step * count, step, amounts)


def _hour(row: tuple[Any, ...]) -> Hour:
    hour, provider, key_source, token = row[: len(BY)]
    sums = Totals()
    sums.add(row[len(BY) :])
    return Hour(
        reading.hour(str(hour)),
        str(provider),
        str(key_source),
        as_uuid(token) if token else None,
        float(sums.requests),
        float(sums.total_tokens),
        float(sums.cost),
    )
