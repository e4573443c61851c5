"""What a person spent, by provider and day, as the cards and charts show it."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from digitalme.accounts.models import User
from providers import registry
from usage import analytics


@dataclass(frozen=True)
class Spending:
    """US dollars by provider; the days are calendar days in the person's own zone, the last is today."""

    days: tuple[date, ...]
    daily: dict[str, tuple[Decimal, ...]]
    this_month: dict[str, Decimal]
    names: dict[str, str]


def by_provider(user: User, *, days: int, now: datetime) -> Spending:
    """Return what was spent in the last `days` days and since the month began."""
    today = now.astimezone(ZoneInfo(user.time_zone)).date()
    window = tuple(today - timedelta(days=ago) for ago in reversed(range(days)))
    place = {day: index for index, day in enumerate(window)}
    month_start = today.replace(day=1)
    daily: dict[str, list[Decimal]] = defaultdict(lambda: [Decimal(0)] * days)
    this_month: dict[str, Decimal] = defaultdict(Decimal)
    for point in analytics.daily_by_provider(user, min(window[0], month_start), today, now):
        if point.day in place:
            daily[point.provider][place[point.day]] += point.cost
        if point.day >= month_start:
            this_month[point.provider] += point.cost
    return Spending(
        days=window,
        daily={slug: tuple(values) for slug, values in daily.items()},
        this_month=dict(this_month),
        names={provider.slug: provider.name for provider in registry.all_providers()},
    )
