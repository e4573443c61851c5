"""Tell people early in a month that a limit will not last it: by its forecast, which knows the week, or where there is
none, if it goes on as it did since the month began."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Subquery

from digitalme.alerts import wording
from digitalme.alerts.models import Reached
from digitalme.alerts.thresholds import DIMENSIONS, passed, percent_used
from digitalme.forecasts.models import Forecast
from digitalme.notifications import notices
from digitalme.notifications.kinds import Kind
from digitalme.notifications.models import Level
from digitalme.notifications.notices import Message
from quotas.models import Allocation
from quotas.periods import MONTHLY

# Before so much of a period is over, or of a limit used, the pace says little; near the end the thresholds say it all.
FROM_PERCENT, UNTIL_PERCENT = 15, 80
LEAST_USED = 10
# A limit that would last nine tenths of its period is no news.
LASTS_PERCENT = 90
BATCH = 500
# An older forecast is none.
FRESH = timedelta(days=1)
_HABITS = "If the coming days go like those of the past weeks"
_PACE = "If it goes on as it did since the month began"


def ends_at(
    percent: int, start: datetime, end: datetime, now: datetime, foreseen: datetime | None = None
) -> datetime | None:
    """Return when a limit of which so many percent are used would be used up: as foreseen, or else at the pace since
    the start; None if that is near the end or beyond it, or if it is too early or too late to say."""
    whole, over = end - start, now - start
    if not FROM_PERCENT * whole <= 100 * over <= UNTIL_PERCENT * whole or not LEAST_USED <= percent < UNTIL_PERCENT:
        return None
    reached = foreseen or start + over * 100 / percent
    return reached if 100 * (reached - start) < LASTS_PERCENT * whole else None


def run(*, now: datetime) -> int:
    """Tell of monthly limits that will not last, once a period; return how many people were told. Safe to run twice."""
    return sum(_look_at(row, now) for row in _candidates(now))


def _candidates(now: datetime) -> Iterator[Any]:
    """The running months that may be told of; `basis` says what their forecast stands on, None where there is none,
    and `foreseen` when it reaches the first of its amounts."""
    told = Reached.objects.filter(allocation_id=OuterRef("pk"), foreseen=True)
    running = Allocation.objects.filter(period_end__gt=now, period_start__lte=now, is_active=True, type__in=MONTHLY)
    found = running.filter(passed(LEAST_USED)).exclude(passed(UNTIL_PERCENT)).exclude(Exists(told))
    made = Forecast.objects.filter(allocation_id=OuterRef("pk"), made_at__gt=now - FRESH)
    first = made.order_by(F("reaches_limit_at").asc(nulls_last=True))
    found = found.annotate(
        foreseen=Subquery(first.values("reaches_limit_at")[:1]), basis=Subquery(first.values("basis")[:1])
    )
    return found.select_related("user", "team", "token__user").order_by("pk").iterator(chunk_size=BATCH)


@transaction.atomic
def _look_at(row: Any, now: datetime) -> int:
    if row.basis and not row.foreseen:
        return 0
    used: dict[str, Any] = {name: getattr(row, f"used_{name}") for name in DIMENSIONS}
    percent = percent_used(used, {name: getattr(row, f"allowed_{name}") for name in DIMENSIONS})
    at = ends_at(percent, row.period_start, row.period_end, now, row.foreseen)
    people = wording.concerned_by(row) if at else []
    if at is None or not people:
        return 0
    noted = Reached(allocation_id=row.pk, percent=0, foreseen=True, period_end=row.period_end)
    Reached.objects.bulk_create(
        [noted], update_conflicts=True, unique_fields=["allocation_id"], update_fields=["foreseen"]
    )
    return notices.tell(people, _message(row, percent, at), now=now)


def _message(row: Any, percent: int, at: datetime) -> Message:
    local = at.astimezone(ZoneInfo(wording.zone_of(row)))
    name, day = wording.name_of(row), f"{local.day} {local:%B}"
    return Message(
        kind=Kind.FORECAST,
        level=Level.WARN,
        title=f"At this pace {name} lasts until {day}",
        text=f"{percent} % of it is used. {_HABITS if row.basis == Forecast.Basis.SEASON else _PACE}, it is used up on "
        f"{local:%A}, {day}. {wording.resets(row)}",
        link=wording.link_of(row),
        key=f"pace:{row.pk}",
        facts=wording.facts_of(row) | {"percent": percent, "reached_at": at.isoformat()},
    )
