"""Whom a limit concerns, and what is told about it."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from apikeys import letters
from digitalme.accounts.models import Membership
from digitalme.accounts.teams import MANAGERS
from digitalme.notifications.kinds import Kind
from digitalme.notifications.models import Level
from digitalme.notifications.notices import Message
from providers import registry
from quotas import owners
from quotas.models import Allocation, Binds, LimitType

USED_UP = 100
_LIMITS, _KEYS = "/settings/usage/limits/", "/settings/api/"
_LEVELS = {50: Level.INFO, 80: Level.WARN, 95: Level.WARN, USED_UP: Level.BAD}
_WORTH_A_MAIL = 80


def concerned_by(row: Allocation) -> list[UUID]:
    """Return who is told about a limit: its person, the token's owner, who looks after the team, or after the house's
    keys."""
    scope = owners.of_row(row).scope
    if scope in (owners.USER, owners.MEMBER):
        return [row.user_id] if row.user_id else []
    if scope == owners.TOKEN:
        return [row.token.user_id] if row.token else []
    if scope == owners.TEAM:
        managers = Membership.objects.filter(team=row.team, role__in=MANAGERS)
        return list(managers.values_list("user_id", flat=True))
    return letters.keepers_of_house()


def of_threshold(
    row: Allocation, threshold: int, used: Mapping[str, Any], allowed: Mapping[str, int | Decimal | None]
) -> Message:
    """Return what is told when so many percent of a limit are used."""
    return Message(
        kind=_kind(row),
        level=Level.WARN if row.soft else _LEVELS[threshold],
        title=_title(row, threshold),
        text=f"{_amounts(used, allowed)}. {resets(row)} {_remedy(row, threshold)}".strip(),
        link=link_of(row),
        key=f"limit:{row.pk}:{threshold}",
        facts=facts_of(row) | {"threshold": threshold, "used": dict(used), "allowed": dict(allowed)},
        mailed=threshold >= _WORTH_A_MAIL,
    )


def facts_of(row: Allocation) -> dict[str, Any]:
    """Return what programs are told about which limit it is."""
    return {
        "limit_type": row.type,
        "scope": owners.of_row(row).scope,
        "provider": row.provider or None,
        "resets_at": row.period_end.isoformat(),
    }


def name_of(row: Allocation) -> str:
    """Return a limit as its reader would call it: 'your daily limit', 'team Alice's monthly budget'."""
    label = str(LimitType(row.type).label).lower()
    what = label if "budget" in label else f"{label} limit"
    about = f" for {_provider(row.provider)}" if row.provider else ""
    scope = owners.of_row(row).scope
    if scope == owners.TOKEN and row.token:
        return f"the {what}{about} of your token “{row.token.name}”"
    if scope == owners.TEAM and row.team:
        return f"the {what}{about} of your team {row.team.name}"
    if scope == owners.MEMBER and row.team:
        return f"your {what}{about} in the pool of {row.team.name}"
    return f"the house's {what}{about}" if scope == owners.OF_HOUSE else f"your {what}{about}"


def _kind(row: Allocation) -> Kind:
    if row.soft:
        return Kind.BUDGET
    return Kind.DEMO if row.type == LimitType.DEMO else Kind.QUOTA


def _title(row: Allocation, threshold: int) -> str:
    if row.soft:
        return f"You went past {name_of(row)}"
    if row.type == LimitType.DEMO:
        demo = f"Your demo of {_provider(row.provider)}" if row.provider else "Your demo"
        return f"{demo} is used up" if threshold >= USED_UP else f"{demo} is nearly used up"
    name = name_of(row)
    return f"{name[0].upper()}{name[1:]} is used up" if threshold >= USED_UP else f"{threshold} % of {name} is used"


def _amounts(used: Mapping[str, Any], allowed: Mapping[str, Any]) -> str:
    found = []
    for name, top in allowed.items():
        if top and name == "cost":
            found.append(f"${used[name]:,.2f} of ${top:,.2f}")
        elif top:
            found.append(f"{used[name]:,} of {top:,} {name}")
    return ", ".join(found)


def zone_of(row: Allocation) -> str:
    """Return the time zone of whoever reads about a limit."""
    person = row.user or (row.token.user if row.token else None)
    return person.time_zone if person else "UTC"


def resets(row: Allocation) -> str:
    """Return a sentence that says when a limit starts anew."""
    zone = zone_of(row)
    at = row.period_end.astimezone(ZoneInfo(zone))
    return f"It starts anew on {at.day} {at:%B} at {at:%H:%M} ({zone})."


def _remedy(row: Allocation, threshold: int) -> str:
    if row.soft:
        return "It stops nothing."
    if row.binds == Binds.FALLBACK:
        return "These are calls on the house's keys in place of your own: look which of yours fails."
    if row.binds == Binds.OWN:
        return "Calls beyond it are refused." if threshold >= USED_UP else ""
    if owners.of_row(row).scope in (owners.USER, owners.MEMBER):
        return "Add a key of your own, and the next call uses it, or ask for more."
    return "Calls beyond it are refused." if threshold >= USED_UP else ""


def link_of(row: Allocation) -> str:
    """Return the path at which something can be done about a limit."""
    scope = owners.of_row(row).scope
    if scope == owners.TEAM and row.team:
        return f"/settings/team/{row.team.slug}/"
    if scope == owners.OF_HOUSE:
        return "/admin/quotas/allocation/"
    return _KEYS if row.type == LimitType.DEMO else _LIMITS


def _provider(slug: str) -> str:
    return next((one.name for one in registry.all_providers() if one.slug == slug), slug)
