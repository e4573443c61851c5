"""What a report is shown as on pages: lines of tables, changes in words, a chart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from digitalme.accounts.models import User
from digitalme.web import charts
from providers import registry
from usage.analytics import Point, Totals, UsageReport

GONE = "no longer here"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: what it is about, and its sums."""

    name: str
    sums: Totals


def changes_of(found: UsageReport) -> dict[str, str]:
    """Return how the sums changed since the period before, in words; nothing where that had none."""
    changes = {name: found.change(name) for name in ("requests", "total_tokens", "cost", "unsuccessful")}
    before = f"on the {round((found.end - found.start) / timedelta(days=1))} days before"
    return {name: f"{share:+.0%} {before}" for name, share in changes.items() if share is not None}


def chart_of(points: Sequence[Point], first: date, last: date) -> dict[str, Any]:
    """Return the chart of what each day cost, stacked by provider, and what its legend needs."""
    days = [first + timedelta(days=ago) for ago in range((last - first).days + 1)]
    place = {day: index for index, day in enumerate(days)}
    daily: dict[str, list[Decimal]] = {}
    for point in points:
        if point.day in place:
            daily.setdefault(point.provider, [Decimal(0)] * len(days))[place[point.day]] += point.cost
    series = [
        charts.Series(name, charts.colour_of(index), tuple(daily[slug]))
        for index, (slug, name) in enumerate(provider_names().items())
        if any(daily.get(slug, ()))
    ]
    return {"bars": charts.stacked_bars(days, series, width=760, height=240), "series": series}


def provider_names() -> dict[str, str]:
    """Return the name of each provider."""
    return {provider.slug: provider.name for provider in registry.all_providers()}


def people(ids: Mapping[Any, Totals]) -> list[Row]:
    """Return a line for each user, by address."""
    known = dict(User.objects.filter(pk__in=[one for one in ids if one]).values_list("pk", "email"))
    return [Row(named(known, one), sums) for one, sums in ids.items()]


def named(names: Mapping[UUID, str], one: UUID | None) -> str:
    """Return what somebody or something is called, or its id if it is gone."""
    return names.get(one, f"{one} ({GONE})") if one else "none"
