"""Forecasts are made a few people at a time: of everybody with calls in the past week, once an hour.

Whoever has none of this hour yet is next, so a run that ends early is taken up where it stopped, and a second one at
the same time writes the same rows.
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from digitalme.accounts.models import Team, User
from digitalme.forecasts import subjects
from digitalme.forecasts.models import Forecast
from digitalme.forecasts.subjects import MONTH, Subject
from usage import forecast, histories
from usage.models import DailyUsage, HourlyUsage
from usage.reading import Whose
from usage.rollups import hour_of

RECENT = timedelta(days=7)
AT_ONCE = 50
# Other tasks of the same worker wait no longer than this, and for one person's forecasts.
SECONDS = 5.0
# Before such a part of its period is over, a pace alone says nothing.
LEAST_PERCENT = 15
_UNIQUE = ["owner_id", "type", "provider", "dimension"]
_FIELDS = [field.name for field in Forecast._meta.concrete_fields if field.name not in ("id", *_UNIQUE)]


def make(*, now: datetime, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic) -> tuple[int, bool]:
    """Make the forecasts of whoever is next, for about so many seconds; return of how many people and teams they are,
    and whether others wait."""
    Forecast.objects.filter(made_at__lt=now - RECENT).delete()
    begun, done = clock(), 0
    people, teams = list(_people(now)[:AT_ONCE]), list(_teams(now)[:AT_ONCE])
    due: list[User | Team] = [*people, *teams]
    for owner in due:
        make_for(owner, now=now)
        done += 1
        if clock() - begun >= seconds:
            break
    return done, done < len(due) or AT_ONCE in (len(people), len(teams))


def make_for(owner: User | Team, *, now: datetime) -> None:
    """Make the forecasts of one person or team anew; those of periods that are over and of limits that are gone go."""
    end = hour_of(now)
    column = "user_id" if isinstance(owner, User) else "team_id"
    hours = histories.hours(Whose(column, owner.pk), now=now)
    rows = [row for one in subjects.of(owner, hours, now=now) if (row := _row(one, end, now))]
    for row in rows:
        setattr(row, column, owner.pk)
    with transaction.atomic():
        Forecast.objects.bulk_create(rows, update_conflicts=True, unique_fields=_UNIQUE, update_fields=_FIELDS)
        Forecast.objects.filter(**{column: owner.pk}, made_at__lt=now).delete()


def _people(now: datetime) -> QuerySet[User]:
    used = DailyUsage.objects.filter(user_id=OuterRef("pk"), day__gte=(now - RECENT).date())
    return User.objects.filter(Exists(used), ~_made(now), is_active=True).order_by("pk")


def _teams(now: datetime) -> QuerySet[Team]:
    used = HourlyUsage.objects.filter(team_id=OuterRef("pk"), hour__gte=hour_of(now - RECENT))
    return Team.objects.filter(Exists(used), ~_made(now)).order_by("pk")


def _made(now: datetime) -> Exists:
    return Exists(Forecast.objects.filter(owner_id=OuterRef("pk"), type=MONTH, made_at__gte=hour_of(now)))


def _row(one: Subject, end: datetime, now: datetime) -> Forecast | None:
    """Return what becomes of a subject; None where only a pace is known of a limit, and too little of its period is
    over."""
    history = histories.history(one.hours, one.amount, one.step, end=end)
    told = forecast.forecast(history, begin=one.start, end=one.end, used=one.used, limit=one.limit)
    early = 100 * (now - one.start) < LEAST_PERCENT * (one.end - one.start)
    if one.type != MONTH and told.basis == "pace" and early:
        return None
    return Forecast(
        owner_id=one.owner_id,
        allocation_id=one.allocation_id,
        type=one.type,
        provider=one.provider,
        dimension=one.dimension,
        limit=one.limit,
        used=one.used,
        expected=told.expected,
        low=told.low,
        high=told.high,
        reaches_limit_at=told.reaches_limit_at,
        basis=told.basis,
        period_start=one.start,
        period_end=one.end,
        made_at=now,
    )
