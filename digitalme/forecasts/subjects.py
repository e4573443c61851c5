"""What is forecast: the calendar month of a person or team, and each amount that a person's limits set."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID

from django.db.models import Q

from digitalme.accounts.models import Team, User
from digitalme.forecasts.models import Forecast
from quotas import owners, policy
from quotas.models import Allocation, Binds, LimitType
from quotas.periods import MONTHLY, period
from usage.forecast import DAY, HOUR
from usage.histories import Hour
from usage.rollups import hour_of

# The type of what is no limit's period.
MONTH = ""
_SOURCES: dict[str, frozenset[str]] = {
    Binds.SYSTEM: frozenset({"system"}),
    Binds.OWN: frozenset({"user", "team"}),
    Binds.ALL: frozenset({"user", "team", "system"}),
}


class Subject(NamedTuple):
    """One amount of one running period, how much of it is used, and in which hours such use came about. Amounts are
    requests, tokens or US dollars."""

    owner_id: UUID
    type: str
    provider: str
    dimension: str
    start: datetime
    end: datetime
    hours: Sequence[Hour]
    used: float
    limit: float | None = None
    allocation_id: UUID | None = None

    @property
    def step(self) -> timedelta:
        """In which steps its history is told: hours for a day, days for a month."""
        return DAY if self.type == MONTH or self.type in MONTHLY else HOUR

    def amount(self, hour: Hour) -> float:
        """Return how much of it an hour used."""
        return float(attrgetter(self.dimension)(hour))


def of(owner: User | Team, hours: Sequence[Hour], *, now: datetime) -> Iterator[Subject]:
    """Yield what is forecast for a person or team with this history."""
    if isinstance(owner, Team):
        place = owners.of_team(owner.pk)
        yield from _month(place.id, policy.zones_of([place])[place.id], hours, now)
        return
    yield from _month(owner.pk, owner.time_zone, hours, now)
    running = Allocation.objects.filter(period_start__lte=now, period_end__gt=now, is_active=True, team=None)
    # What stands in for own keys that fail has no habits.
    mine = running.filter(Q(user=owner) | Q(token__user=owner)).exclude(binds=Binds.FALLBACK)
    for row in mine.order_by("pk"):
        yield from _limit(row, hours)


def _month(owner_id: UUID, zone: str, hours: Sequence[Hour], now: datetime) -> Iterator[Subject]:
    start, end = period(LimitType.MONTHLY, now, zone)
    # An hour that two months share, where clocks differ by half an hour, counts for the later one.
    since = hour_of(start)
    for dimension in Forecast.Dimension.values:
        used = sum(float(attrgetter(dimension)(one)) for one in hours if one.hour >= since)
        yield Subject(owner_id, MONTH, "", dimension, start, end, hours, max(used, 0.0))


def _limit(row: Allocation, hours: Sequence[Hour]) -> Iterator[Subject]:
    sources = _SOURCES[row.binds]
    counted = [
        one
        for one in hours
        if one.key_source in sources
        and row.provider in ("", one.provider)
        and (row.token_id is None or row.token_id == one.token_id)
    ]
    for dimension in Forecast.Dimension.values:
        used, allowed = getattr(row, f"used_{dimension}"), getattr(row, f"allowed_{dimension}")
        if allowed is None or used <= 0:
            continue
        yield Subject(
            owner_id=row.owner_id,
            type=row.type,
            provider=row.provider,
            dimension=dimension,
            start=row.period_start,
            end=row.period_end,
            hours=counted,
            used=float(used),
            limit=float(allowed),
            allocation_id=row.pk,
        )
