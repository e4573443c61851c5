"""Tell people that a limit runs low: at 50, 80, 95 and 100 percent, each once a period.

The ledger's own counters say how far a limit is used; what running calls only hold is not counted.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import BigIntegerField, Case, ExpressionWrapper, F, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce
from django.db.models.lookups import GreaterThanOrEqual

from digitalme.alerts import wording
from digitalme.alerts.models import Reached
from digitalme.database import from_nano
from digitalme.notifications import notices
from digitalme.statements import ask
from quotas import leases
from quotas.decision import Amounts
from quotas.models import Allocation, LimitType

THRESHOLDS = (50, 80, 95, 100)
OF_DEMO = (80, 100)
OF_SOFT = (100,)
AT_ONCE = 500
KEPT = timedelta(days=1)
DIMENSIONS = ("requests", "tokens", "cost")


def run(*, now: datetime) -> int:
    """Tell of what limits went over since the last run; return how many people were told. Safe to run twice.

    Three questions while nobody comes nearer to a limit: the database finds what went further than was told.
    """
    rows = list(_further(now)[:AT_ONCE])
    if not rows:
        return 0
    held = ask(leases.held_per_allocation(None))
    return sum(_tell(row, held.get(row.pk, Amounts()), now) for row in rows)


def forget(*, now: datetime) -> int:
    """Delete what was noted about periods that are over."""
    return Reached.objects.filter(period_end__lt=now - KEPT).delete()[0]


def thresholds_of(type_: str, *, soft: bool) -> tuple[int, ...]:
    """Return at which shares, in percent, somebody is told about a limit of this type."""
    if soft:
        return OF_SOFT
    return OF_DEMO if type_ == LimitType.DEMO else THRESHOLDS


def due(percent: int, told: int, thresholds: Iterable[int]) -> int | None:
    """Return the highest threshold that is reached and lies above what was told; lower ones are passed over."""
    return max((one for one in thresholds if told < one <= percent), default=None)


def percent_used(used: Mapping[str, int | Decimal], allowed: Mapping[str, int | Decimal | None]) -> int:
    """Return the share of a limit that is used, in whole percent, rounded down: of several amounts the largest. What is
    unlimited, or allows nothing, has no share."""
    shares = [int(used[name] * 100 // top) for name, top in allowed.items() if top]
    return max(shares, default=0)


def _further(now: datetime) -> QuerySet[Allocation]:
    """The running periods in which a threshold is passed beyond what was noted. `told` is the latter."""
    noted = Subquery(Reached.objects.filter(allocation_id=OuterRef("pk")).values("percent"))
    reached = Case(*(When(passed(one), then=Value(one)) for one in reversed(THRESHOLDS)), default=Value(0))
    running = Allocation.objects.filter(period_end__gt=now, period_start__lte=now, is_active=True)
    found = running.annotate(reached=reached, told=Coalesce(noted, Value(0))).filter(reached__gt=F("told"))
    return found.select_related("user", "team", "token__user").order_by("pk")


def passed(percent: int) -> Q:
    """Return the condition that so much, in percent, of any amount is used, reckoned in whole numbers. Money is divided
    first: a hundredfold of the largest amount in billionths is no number that a database has."""
    whole = BigIntegerField()
    condition = Q()
    for name in DIMENSIONS:
        used, allowed = F(f"used_{name}"), F(f"allowed_{name}")
        if name == "cost":
            enough = GreaterThanOrEqual(used, ExpressionWrapper(allowed / Value(100) * Value(percent), whole))
        else:
            times = ExpressionWrapper(used * Value(100), whole)
            enough = GreaterThanOrEqual(times, ExpressionWrapper(allowed * Value(percent), whole))
        condition |= Q(enough) & Q(**{f"allowed_{name}__gt": 0})
    return condition


@transaction.atomic
def _tell(row: Any, held: Amounts, now: datetime) -> int:
    used = {
        "requests": row.used_requests - held.requests,
        "tokens": row.used_tokens - held.tokens,
        "cost": row.used_cost - from_nano(held.cost),
    }
    allowed = {name: getattr(row, f"allowed_{name}") for name in DIMENSIONS}
    percent = percent_used(used, allowed)
    reached = due(percent, row.told, THRESHOLDS)
    if reached is None:  # running calls hold the rest, and may give it back
        return 0
    _note(row, reached)
    threshold = due(percent, row.told, thresholds_of(row.type, soft=row.soft))
    people = wording.concerned_by(row)
    if threshold is None or not people:
        return 0
    return notices.tell(people, wording.of_threshold(row, threshold, used, allowed), now=now)


def _note(row: Allocation, percent: int) -> None:
    noted = Reached(allocation_id=row.pk, percent=percent, period_end=row.period_end)
    Reached.objects.bulk_create(
        [noted], update_conflicts=True, unique_fields=["allocation_id"], update_fields=["percent", "period_end"]
    )


def noted(allocation_id: UUID) -> int:
    """Return up to which share, in percent, an allocation was told of."""
    return Reached.objects.filter(pk=allocation_id).values_list("percent", flat=True).first() or 0
