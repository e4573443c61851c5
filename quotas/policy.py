"""What a user is allowed: the tier's limits, or the user's own in their place."""

import copy
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from digitalme.accounts.models import User
from quotas.models import ALL_PROVIDERS, EACH_PROVIDER, Binds, Limit, LimitType, Raise, Tier

DEFAULT_TIER = "free"
# What a newcomer may use of the house's money. The demo limit counts for each provider by itself.
BUILT_IN: tuple[dict[str, object], ...] = (
    {"type": LimitType.DEMO, "provider": EACH_PROVIDER, "binds": Binds.SYSTEM, "requests": 50},
    {"type": LimitType.DAILY, "provider": ALL_PROVIDERS, "binds": Binds.SYSTEM, "requests": 1_000},
    {
        "type": LimitType.MONTHLY,
        "provider": ALL_PROVIDERS,
        "binds": Binds.SYSTEM,
        "tokens": 2_000_000,
        "cost": Decimal(10),
    },
    {"type": LimitType.FAIR_USE, "provider": ALL_PROVIDERS, "binds": Binds.OWN, "requests": 1_000_000},
)


class LimitKey(NamedTuple):
    """What tells one limit of a user from another. The provider is a slug, or empty for all together."""

    type: str
    provider: str


@dataclass(frozen=True, slots=True)
class LimitSpec:
    """A limit as it is counted. Empty amounts are unlimited; cost is in US dollars."""

    type: str
    provider: str
    binds: str
    requests: int | None
    tokens: int | None
    cost: Decimal | None

    @property
    def key(self) -> LimitKey:
        return LimitKey(self.type, self.provider)


@transaction.atomic
def ensure_default_tier() -> None:
    """Make the default tier if there is none; one that an administrator changed is left alone."""
    if Tier.objects.filter(is_default=True).exists():
        return
    tier, _ = Tier.objects.update_or_create(slug=DEFAULT_TIER, defaults={"name": "Free", "is_default": True})
    for limit in BUILT_IN:
        Limit.objects.get_or_create(tier=tier, type=limit["type"], provider=limit["provider"], defaults=limit)


def limits_for(user_ids: Collection[UUID]) -> dict[UUID, list[Limit]]:
    """Return each user's limits: those of the tier, and the user's own in their place.

    Without a default tier the built-in limits hold: nobody's spending is unlimited because a row is
    gone. A user who does not exist is absent.
    """
    tiers = dict(User.objects.filter(id__in=user_ids).values_list("id", "tier_id"))
    default = Tier.objects.filter(is_default=True).values_list("id", flat=True).first()
    wanted = {tier or default for tier in tiers.values()} - {None}
    by_tier: dict[int, list[Limit]] = {}
    by_user: dict[UUID, list[Limit]] = {}
    for limit in Limit.objects.filter(Q(tier_id__in=wanted) | Q(user_id__in=user_ids)).order_by("id"):
        if limit.tier_id:
            by_tier.setdefault(limit.tier_id, []).append(limit)
        elif limit.user_id:
            by_user.setdefault(limit.user_id, []).append(limit)
    return {
        user: _overridden(_of_tier(tier or default, by_tier), by_user.get(user, [])) for user, tier in tiers.items()
    }


def granted_to(user_ids: Collection[UUID]) -> list[Raise]:
    """Return the raises of these users, those too whose time is over but which nobody took back yet."""
    return list(Raise.objects.filter(user_id__in=user_ids, state=Raise.State.GRANTED).order_by("pk"))


def allowed_for(
    user_ids: Collection[UUID], *, at: datetime, granted: Iterable[Raise] | None = None
) -> dict[UUID, list[Limit]]:
    """Return each user's limits with what raises (`granted`, if they are known) add to them at this moment."""
    limits = limits_for(user_ids)
    for one in granted_to(user_ids) if granted is None else granted:
        if one.user_id in limits and one.starts_at and one.ends_at and one.starts_at <= at < one.ends_at:
            limits[one.user_id] = raised(limits[one.user_id], one)
    return limits


def raised(limits: list[Limit], by: Raise) -> list[Limit]:
    """Return limits of which one allows more. What is unlimited, or no limit at all, stays that.

    Where the limit counts each provider by itself, the raised provider gets one of its own.
    """
    of_type = {limit.provider: limit for limit in limits if limit.type == by.type}
    base = of_type.get(by.provider) or (of_type.get(EACH_PROVIDER) if by.provider != ALL_PROVIDERS else None)
    if base is None:
        return limits
    more = copy.copy(base)
    more.provider = by.provider
    for name in ("requests", "tokens", "cost"):
        there, extra = getattr(base, name), getattr(by, f"extra_{name}")
        if there is not None and extra is not None:
            setattr(more, name, there + extra)
    return [more, *(limit for limit in limits if limit is not of_type.get(by.provider))]


def specs(limits: Iterable[Limit], provider: str) -> list[LimitSpec]:
    """Return the limits that count a call to the provider. One for the provider itself replaces the
    one of the same type for each provider."""
    limits = list(limits)
    named = {limit.type for limit in limits if limit.provider == provider}
    found = []
    for limit in limits:
        if limit.provider in (ALL_PROVIDERS, provider):
            found.append(_spec(limit, limit.provider))
        elif limit.provider == EACH_PROVIDER and provider != ALL_PROVIDERS and limit.type not in named:
            found.append(_spec(limit, provider))
    return found


def spec_of(limits: Iterable[Limit], type: str, provider: str) -> LimitSpec | None:
    """Return the limit of this type that is counted for the provider (or, if empty, for all together)."""
    of_type = {limit.provider: limit for limit in limits if limit.type == type}
    found = of_type.get(provider)
    if found is None and provider != ALL_PROVIDERS:
        found = of_type.get(EACH_PROVIDER)
    return _spec(found, provider) if found else None


def users_of(tier: Tier) -> list[UUID]:
    """Return the ids of those whom the tier's limits bind."""
    of_tier = Q(tier=tier) | Q(tier=None) if tier.is_default else Q(tier=tier)
    return list(User.objects.filter(of_tier).values_list("id", flat=True))


def _of_tier(tier: int | None, by_tier: dict[int, list[Limit]]) -> list[Limit]:
    return [Limit(**limit) for limit in BUILT_IN] if tier is None else by_tier.get(tier, [])


def _overridden(tiers: list[Limit], own: list[Limit]) -> list[Limit]:
    replaced = {(limit.type, limit.provider) for limit in own}
    return own + [limit for limit in tiers if (limit.type, limit.provider) not in replaced]


def _spec(limit: Limit, provider: str) -> LimitSpec:
    return LimitSpec(limit.type, provider, limit.binds, limit.requests, limit.tokens, limit.cost)
