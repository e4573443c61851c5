"""What a user is allowed: the tier's limits, or the user's own in their place."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from digitalme.accounts.models import User
from digitalme.errors import InvalidRequest
from quotas.models import ALL_PROVIDERS, EACH_PROVIDER, Allocation, Binds, Limit, LimitType, Tier
from quotas.periods import period

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
OWN_TYPES = frozenset({LimitType.FAIR_USE})


class LimitKey(NamedTuple):
    """What tells one limit of a user from another."""

    type: str
    provider: str


@dataclass(frozen=True, slots=True)
class LimitSpec:
    """A limit as it is booked: provider is a slug, or empty for all together."""

    type: str
    provider: str
    binds: str
    requests: int | None
    tokens: int | None
    cost: Decimal | None

    @property
    def key(self) -> LimitKey:
        return LimitKey(self.type, self.provider)


def ensure_default_tier() -> None:
    """Make the default tier if there is none; one that an administrator changed is left alone."""
    with transaction.atomic():
        if Tier.objects.filter(is_default=True).exists():
            return
        tier, _ = Tier.objects.update_or_create(slug=DEFAULT_TIER, defaults={"name": "Free", "is_default": True})
        for limit in BUILT_IN:
            Limit.objects.get_or_create(tier=tier, type=limit["type"], provider=limit["provider"], defaults=limit)


def limits_for(user_ids: Collection[UUID]) -> dict[UUID, list[Limit]]:
    """Return each user's limits: those of the tier, and the user's own where there are any.

    Without any tier the built-in limits hold: nobody's spending is unlimited because a row is gone.
    """
    tiers = dict(User.objects.filter(id__in=user_ids).values_list("id", "tier_id"))
    default = Tier.objects.filter(is_default=True).values_list("id", flat=True).first()
    wanted = {tier or default for tier in tiers.values()}
    by_tier: dict[int, list[Limit]] = {}
    by_user: dict[UUID, list[Limit]] = {}
    for limit in Limit.objects.filter(Q(tier_id__in=wanted - {None}) | Q(user_id__in=user_ids)).order_by("id"):
        if limit.tier_id:
            by_tier.setdefault(limit.tier_id, []).append(limit)
        elif limit.user_id:
            by_user.setdefault(limit.user_id, []).append(limit)
    return {
        user: _overridden(_of_tier(tier or default, by_tier), by_user.get(user, [])) for user, tier in tiers.items()
    }


def _of_tier(tier: int | None, by_tier: dict[int, list[Limit]]) -> list[Limit]:
    return [Limit(**limit) for limit in BUILT_IN] if tier is None else by_tier.get(tier, [])


def _overridden(tiers: list[Limit], own: list[Limit]) -> list[Limit]:
    replaced = {(limit.type, limit.provider) for limit in own}
    return own + [limit for limit in tiers if (limit.type, limit.provider) not in replaced]


def specs(limits: Iterable[Limit], provider: str) -> list[LimitSpec]:
    """Return the limits that count a call to the provider. One for the provider itself goes before the
    one for each."""
    limits = list(limits)
    named = {limit.type for limit in limits if limit.provider == provider}
    return [
        LimitSpec(
            type=limit.type,
            provider=ALL_PROVIDERS if limit.provider == ALL_PROVIDERS else provider,
            binds=limit.binds,
            requests=limit.requests,
            tokens=limit.tokens,
            cost=limit.cost,
        )
        for limit in limits
        if limit.provider in (ALL_PROVIDERS, provider) or (limit.provider == EACH_PROVIDER and limit.type not in named)
    ]


def open_rows(user_id: UUID, wanted: Iterable[LimitSpec], zone: str, now: datetime) -> list[Allocation]:
    """Return the rows of these limits that cover `now`, making those that are not there yet.

    Safe to run in several processes at once: the first one's row stands.
    """
    wanted = list(wanted)
    current = {LimitKey(row.type, row.provider): row for row in current_rows([user_id], now)}
    missing = [spec for spec in wanted if spec.key not in current]
    if missing:
        Allocation.objects.bulk_create([_row(user_id, spec, zone, now) for spec in missing], ignore_conflicts=True)
        current = {LimitKey(row.type, row.provider): row for row in current_rows([user_id], now)}
    return [current[spec.key] for spec in wanted if spec.key in current]


def current_rows(user_ids: Collection[UUID], now: datetime) -> list[Allocation]:
    """Return the rows whose period `now` lies in."""
    return list(Allocation.objects.filter(user_id__in=user_ids, period_start__lte=now, period_end__gt=now))


def _row(user_id: UUID, spec: LimitSpec, zone: str, now: datetime) -> Allocation:
    start, end = period(spec.type, now, zone)
    return Allocation(
        user_id=user_id,
        provider=spec.provider,
        type=spec.type,
        binds=spec.binds,
        allowed_requests=spec.requests,
        allowed_tokens=spec.tokens,
        allowed_cost=spec.cost,
        period_start=start,
        period_end=end,
    )


@transaction.atomic
def set_allocation(
    *,
    user: User,
    provider: str,
    type: str,
    requests: int | None,
    tokens: int | None,
    cost: Decimal | None,
    now: datetime,
) -> Allocation:
    """Give a user a limit of their own, from this period on, and return its current row.

    What is used already stays used. Empty amounts are unlimited, but not all three of them.
    Raises InvalidRequest for amounts that are negative or missing altogether.
    """
    amounts = [amount for amount in (requests, tokens, cost) if amount is not None]
    if not amounts or any(amount < 0 for amount in amounts):
        raise InvalidRequest("Give at least one of requests, tokens and cost, none of them negative.")
    binds = Binds.OWN if type in OWN_TYPES else Binds.SYSTEM
    limit, _ = Limit.objects.update_or_create(
        user=user,
        provider=provider,
        type=type,
        defaults={"binds": binds, "requests": requests, "tokens": tokens, "cost": cost},
    )
    spec = LimitSpec(type, provider, limit.binds, requests, tokens, cost)
    (row,) = open_rows(user.id, [spec], user.time_zone, now)
    _apply(row, spec)
    row.refresh_from_db()
    return row


def apply_now(user_ids: Collection[UUID], now: datetime) -> int:
    """Carry changed limits into the rows of the current periods; return how many rows changed."""
    limits = limits_for(user_ids)
    changed = 0
    for row in current_rows(user_ids, now):
        matching = [
            spec
            for spec in specs(limits.get(row.user_id, []), row.provider or "")
            if spec.key == (row.type, row.provider)
        ]
        changed += sum(_apply(row, spec) for spec in matching)
    return changed


def _apply(row: Allocation, spec: LimitSpec) -> int:
    """Write the allowed amounts only: the used ones belong to the ledger."""
    allowed = {"allowed_requests": spec.requests, "allowed_tokens": spec.tokens, "allowed_cost": spec.cost}
    if all(getattr(row, name) == value for name, value in allowed.items()) and row.binds == spec.binds:
        return 0
    return Allocation.objects.filter(id=row.id).update(**allowed, binds=spec.binds)
