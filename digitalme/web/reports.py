"""What a report is shown as on pages: lines of tables, changes in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Any
from uuid import UUID

from digitalme.accounts.models import User
from providers import registry
from usage.analytics import Totals, UsageReport

GONE = "no longer here"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: what it is about, and its sums."""

    name: str
    sums: Totals


def changes_of(found: UsageReport, before: str = "") -> dict[str, str]:
    """Return how the sums changed since the period `before`, in words; nothing where that had none."""
    changes = {name: found.change(name) for name in ("requests", "total_tokens", "cost", "unsuccessful")}
    before = before or f"in the {ceil((found.end - found.start) / timedelta(days=1))} days before"
    return {name: _change(share, before) for name, share in changes.items() if share is not None}


def _change(share: float, before: str) -> str:
    if not round(share * 100):
        return f"→ as much as {before}"
    return f"{'↑' if share > 0 else '↓'} {abs(share) * 100:,.0f}\u00a0% {'more' if share > 0 else 'less'} than {before}"


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
