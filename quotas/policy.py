"""What everybody is allowed: a tier's limits, or the user's own in their place; a team's, a token's, the house's."""

import copy
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Q, Subquery
from django.db.models.functions import Coalesce

from digitalme.accounts.models import AccessToken, Membership, User
from quotas import owners
from quotas.models import ALL_PROVIDERS, EACH_PROVIDER, WHOLE, Adjustment, Binds, Limit, LimitType, Raise, Tier
from quotas.owners import Owner

DEFAULT_TIER = "free"
# What a newcomer may use of the house's money. The demo limit counts for each provider by itself.
BUILT_IN: tuple[dict[str, object], ...] = (
    {"type": LimitType.DEMO, "provider": EACH_PROVIDER, "binds": Binds.SYSTEM, "requests": 50},
    {"type": LimitType.DAILY, "provider": ALL_PROVIDERS, "binds": Binds.SYSTEM, "requests": 1_000},
    {
        "type": LimitType.MONTHLY,
        "provider": ALL_PROVIDERS,
        "binds": Binds.SYSTEM,
        "tokens": 50_000,
        "cost": Decimal(10),
    },
    {"type": LimitType.FAIR_USE, "provider": ALL_PROVIDERS, "binds": Binds.OWN, "requests": 1_000_000},
)
# From which share on calls are slowed, in percent, where a limit does not say.
PACE_FROM = {LimitType.DAILY: 80, LimitType.MONTHLY: 80}
# How much carries over, in percent, where a limit does not say.
ROLLOVER = {LimitType.MONTHLY: 50}
BUFFER_PERCENT, BUFFER_USES = 10, 3
NO_ZONE = "UTC"
# Neither a share nor what is carried over takes a person beyond this many requests in a period on the house's keys;
# a limit itself may allow more.
MOST_REQUESTS = 10_000


class LimitKey(NamedTuple):
    """What tells one limit of an owner from another. The provider is a slug, or empty for all together."""

    type: str
    provider: str


@dataclass(frozen=True, slots=True)
class LimitSpec:
    """A limit as it is counted. Empty amounts are unlimited; cost is in US dollars; the rest is in percent,
    but `buffer_uses`."""

    type: str
    provider: str
    binds: str
    requests: int | None
    tokens: int | None
    cost: Decimal | None
    soft: bool = False
    pace_from: int = WHOLE
    rollover: int = 0
    buffer_percent: int = 0
    buffer_uses: int = 0

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


class Person(NamedTuple):
    """What decides which of a tier's limits bind a user: the own tier or the default one, and the share of it."""

    tier_id: int | None
    tier_name: str
    adjustment: Adjustment


_ADJUSTMENT = ("percent", "override_percent", "override_why", "reasons")


def people(user_ids: Collection[UUID]) -> dict[UUID, Person]:
    """Return what is known of these users, as far as they exist."""
    if not user_ids:
        return {}
    default = Tier.objects.filter(is_default=True).values("id")[:1]
    names = ("id", "tier__name", *(f"adjustment__{name}" for name in _ADJUSTMENT))
    rows = User.objects.filter(id__in=user_ids).values_list(Coalesce("tier_id", Subquery(default)), *names)
    found = {}
    for tier_id, user_id, name, *facts in rows:
        given = {field: value for field, value in zip(_ADJUSTMENT, facts, strict=True) if value is not None}
        found[user_id] = Person(tier_id, name or "", Adjustment(user_id=user_id, **given))
    return found


def limits_of(of: Collection[Owner], known: Mapping[UUID, Person] | None = None) -> dict[UUID, list[Limit]]:
    """Return everybody's limits by the owner's id: a user's are those of the tier, and the own in their place. `known`
    are the users among them, if the caller knows them.

    Without a default tier the built-in limits hold: nobody's spending is unlimited because a row is
    gone. A user who does not exist is absent.
    """
    known = people(_ids(one.user_id for one in of if one.scope == owners.USER)) if known is None else known
    by_tier: dict[int, list[Limit]] = {}
    by_owner: dict[UUID, list[Limit]] = {}
    per_member: dict[UUID, list[Limit]] = {}
    for limit in Limit.objects.filter(_any_of(of, {one.tier_id for one in known.values()} - {None})).order_by("id"):
        if limit.tier_id:
            by_tier.setdefault(limit.tier_id, []).append(limit)
        elif limit.team_id and limit.per_member:
            per_member.setdefault(limit.team_id, []).append(limit)
        else:
            owner = limit.user_id or limit.team_id or limit.token_id or owners.THE_HOUSE.id
            by_owner.setdefault(owner, []).append(limit)
    found = {
        user: _overridden(_shared(_of_tier(one.tier_id, by_tier), one.adjustment.effective), by_owner.get(user, []))
        for user, one in known.items()
    }
    for one in of:
        if one.scope != owners.USER:
            found[one.id] = per_member.get(one.team_id, []) if one.scope == owners.MEMBER else by_owner.get(one.id, [])  # type: ignore[arg-type]
    return found


def _any_of(of: Collection[Owner], tiers: Collection[int | None]) -> Q:
    teams = {one.team_id for one in of if one.team_id}
    wanted = Q(tier_id__in=tiers) | Q(user_id__in={one.user_id for one in of if one.scope == owners.USER})
    wanted |= Q(token_id__in={one.token_id for one in of if one.token_id})
    if teams:
        wanted |= Q(team_id__in=teams)
    return wanted | Q(house=True) if owners.THE_HOUSE in of else wanted


def limits_for(user_ids: Collection[UUID]) -> dict[UUID, list[Limit]]:
    """Return the limits of each of these users."""
    return limits_of([owners.of_user(one) for one in user_ids])


def granted_to(user_ids: Collection[UUID]) -> list[Raise]:
    """Return the raises of these users, those too whose time is over but which nobody took back yet."""
    return list(Raise.objects.filter(user_id__in=user_ids, state=Raise.State.GRANTED).order_by("pk"))


def allowed_for(
    of: Collection[Owner],
    *,
    at: datetime,
    granted: Iterable[Raise] | None = None,
    known: Mapping[UUID, Person] | None = None,
) -> dict[UUID, list[Limit]]:
    """Return everybody's limits with what raises (`granted`, if they are known) add to a user's at this moment."""
    limits = limits_of(of, known)
    users = _ids(one.user_id for one in of if one.scope == owners.USER)
    for one in granted_to(users) if granted is None and users else granted or ():
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
            found.append(spec(limit, limit.provider))
        elif limit.provider == EACH_PROVIDER and provider != ALL_PROVIDERS and limit.type not in named:
            found.append(spec(limit, provider))
    return found


def spec_of(limits: Iterable[Limit], type: str, provider: str) -> LimitSpec | None:
    """Return the limit of this type that is counted for the provider (or, if empty, for all together)."""
    of_type = {limit.provider: limit for limit in limits if limit.type == type}
    found = of_type.get(provider)
    if found is None and provider != ALL_PROVIDERS:
        found = of_type.get(EACH_PROVIDER)
    return spec(found, provider) if found else None


def users_of(tier: Tier) -> list[UUID]:
    """Return the ids of those whom the tier's limits bind."""
    of_tier = Q(tier=tier) | Q(tier=None) if tier.is_default else Q(tier=tier)
    return list(User.objects.filter(of_tier).values_list("id", flat=True))


def zones_of(of: Collection[Owner]) -> dict[UUID, str]:
    """Return the time zone of each owner: a user's own, a token's user's, that of a team's first owner."""
    teams = {one.team_id for one in of if one.team_id}
    of_team: dict[UUID, str] = {}
    if teams:
        heads = Membership.objects.filter(team_id__in=teams, role=Membership.Role.OWNER).order_by("-id")
        of_team = dict(heads.values_list("team_id", "user__time_zone"))
    users = _ids(one.user_id for one in of if one.scope == owners.USER)
    tokens = {one.token_id for one in of if one.token_id}
    of_user = dict(User.objects.filter(id__in=users).values_list("id", "time_zone")) if users else {}
    of_token = dict(AccessToken.objects.filter(id__in=tokens).values_list("id", "user__time_zone")) if tokens else {}
    found = {**of_user, **of_token}
    return {one.id: of_team.get(one.team_id, NO_ZONE) if one.team_id else found.get(one.id, NO_ZONE) for one in of}


def teams_of(user_ids: Collection[UUID]) -> dict[UUID, list[UUID]]:
    """Return the teams that each of these users belongs to."""
    found: dict[UUID, list[UUID]] = {}
    pairs = Membership.objects.filter(user_id__in=user_ids).order_by("id").values_list("user_id", "team_id")
    for user_id, team_id in pairs:
        found.setdefault(user_id, []).append(team_id)
    return found


def spec(limit: Limit, provider: str) -> LimitSpec:
    """Return a limit as it is counted for the provider, what it leaves open filled in."""
    # A person's allowance on the house's keys, or a team's; not a budget, a cap or what each member may draw.
    allowance = limit.binds == Binds.SYSTEM and not (limit.token_id or limit.house or limit.per_member)
    return LimitSpec(
        type=limit.type,
        provider=provider,
        binds=limit.binds,
        requests=limit.requests,
        tokens=limit.tokens,
        cost=limit.cost,
        soft=limit.soft,
        pace_from=_given(limit.pace_from, PACE_FROM.get(LimitType(limit.type), WHOLE) if allowance else WHOLE),
        rollover=_given(limit.rollover_percent, ROLLOVER.get(LimitType(limit.type), 0) if allowance else 0),
        buffer_percent=_given(limit.buffer_percent, BUFFER_PERCENT if allowance else 0),
        buffer_uses=_given(limit.buffer_uses, BUFFER_USES),
    )


def _ids(found: Iterable[UUID | None]) -> set[UUID]:
    return {one for one in found if one}


def _given(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value


def _of_tier(tier: int | None, by_tier: dict[int, list[Limit]]) -> list[Limit]:
    return [Limit(**limit) for limit in BUILT_IN] if tier is None else by_tier.get(tier, [])


def _shared(tiers: list[Limit], percent: int) -> list[Limit]:
    """Return the tier's allowances on the house's keys by a person's share of them."""
    return tiers if percent == WHOLE else [_times(one, percent) for one in tiers]


def _times(limit: Limit, percent: int) -> Limit:
    if limit.binds != Binds.SYSTEM:
        return limit
    changed = copy.copy(limit)
    if limit.requests is not None:
        changed.requests = min(limit.requests * percent // WHOLE, max(limit.requests, MOST_REQUESTS))
    changed.tokens = None if limit.tokens is None else limit.tokens * percent // WHOLE
    changed.cost = None if limit.cost is None else limit.cost * percent / WHOLE
    return changed


def _overridden(tiers: list[Limit], own: list[Limit]) -> list[Limit]:
    replaced = {(limit.type, limit.provider) for limit in own}
    return own + [limit for limit in tiers if (limit.type, limit.provider) not in replaced]
