"""How a user's limits stand now, for pages and the API."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from digitalme.accounts.models import User
from digitalme.database import from_nano, parameters
from digitalme.statements import Rows, Statement, ask
from providers import registry
from quotas import allocations, leases, owners, policy
from quotas.decision import Amounts
from quotas.models import ALL_PROVIDERS, Allocation, Limit, LimitType, Raise
from quotas.owners import Owner
from quotas.periods import period
from quotas.policy import LimitKey, LimitSpec, Person

DIMENSIONS = ("requests", "tokens", "cost")


@dataclass(frozen=True, slots=True)
class QuotaStanding:
    """One limit in its current period. `used_*` includes `held_*`, what running calls may still reach.
    An empty `allowed_*` is unlimited; it contains `rollover_*`, what was carried over, and `received_*`, and lacks
    `given_*`, what was given by and to others. Cost is in US dollars.
    Calls are slowed when `slowed_from` percent are used; a soft limit refuses nothing."""

    type: str
    label: str
    provider: str
    binds: str
    allowed_requests: int | None
    allowed_tokens: int | None
    allowed_cost: Decimal | None
    resets_at: datetime
    used_requests: int = 0
    used_tokens: int = 0
    used_cost: Decimal = Decimal(0)
    held_requests: int = 0
    held_tokens: int = 0
    held_cost: Decimal = Decimal(0)
    rollover_requests: int = 0
    rollover_tokens: int = 0
    rollover_cost: Decimal = Decimal(0)
    soft: bool = False
    slowed_from: int = 100
    emergency_uses_left: int = 0
    received_requests: int = 0
    received_tokens: int = 0
    received_cost: Decimal = Decimal(0)
    given_requests: int = 0
    given_tokens: int = 0
    given_cost: Decimal = Decimal(0)


def standings(
    user: User,
    now: datetime,
    *,
    granted: Sequence[Raise] | None = None,
    known: Mapping[UUID, Person] | None = None,
) -> list[QuotaStanding]:
    """Return every limit that binds the user's calls; one whose row does not exist yet has used nothing. `granted` and
    `known` are what policy tells of the user, if the caller asked for it."""
    rows = allocations.current_rows([user.id], now)
    held = ask(leases.held_per_allocation([user.id]))
    there = {LimitKey(row.type, row.provider) for row in rows}
    granted = policy.granted_to([user.id]) if granted is None else granted
    found_limits = policy.allowed_for([owners.of_user(user.id)], at=now, granted=granted, known=known)
    limits = found_limits.get(user.id, [])
    if any(one.ends_at and one.ends_at <= now for one in granted):
        # The next call writes it down; a page tells it already.
        rows = [allocations.as_allowed(row, limits) for row in rows]
    found = [_counted(row, held.get(row.id, Amounts())) for row in rows if row.is_active]
    found += [_untouched(spec, user.time_zone, now) for spec in _all_specs(limits) if spec.key not in there]
    return _in_order(found)


_AMOUNTS = ", ".join(f"SUM({kind}_{name})" for kind in ("used", "allowed") for name in DIMENSIONS)
_ROWS = (
    f"SELECT COUNT(*), COUNT(*) FILTER (WHERE is_active), MAX(period_end), {_AMOUNTS} FROM quotas_allocation"  # noqa: S608
    " WHERE owner_id = %s AND period_start <= %s AND period_end > %s"
)


def pulse(user_id: UUID, now: datetime) -> Statement[Rows]:
    """Ask for what changes when a limit of this person is used, held, set or begins anew: one row, made of few."""
    return Statement(_ROWS, parameters([user_id, now, now]), tuple)


def of_shared(
    whose: Collection[Owner], zone: str, callers: Collection[UUID], now: datetime
) -> dict[UUID, list[QuotaStanding]]:
    """Return the limits of a team and its members in it by the owner's id; `callers` are the members."""
    held, limits = ask(leases.held_per_allocation(callers)), policy.limits_of(whose)
    found: dict[UUID, list[QuotaStanding]] = {one.id: [] for one in whose}
    there = set()
    for row in allocations.current_rows(list(found), now):
        there.add((row.owner_id, LimitKey(row.type, row.provider)))
        if row.is_active:
            found[row.owner_id].append(_counted(row, held.get(row.id, Amounts())))
    for one in found:
        missing = [spec for spec in _all_specs(limits.get(one, [])) if (one, spec.key) not in there]
        found[one] = _in_order([*found[one], *(_untouched(spec, zone, now) for spec in missing)])
    return found


def _in_order(found: Iterable[QuotaStanding]) -> list[QuotaStanding]:
    order = LimitType.values
    return sorted(found, key=lambda one: (order.index(one.type), one.provider))


def _all_specs(limits: Iterable[Limit]) -> list[LimitSpec]:
    limits = list(limits)
    slugs = [provider.slug for provider in registry.all_providers()]
    by_key = {spec.key: spec for slug in [ALL_PROVIDERS, *slugs] for spec in policy.specs(limits, slug)}
    return list(by_key.values())


def _counted(row: Allocation, held: Amounts) -> QuotaStanding:
    return QuotaStanding(
        type=row.type,
        label=_label(row.type, row.provider),
        provider=row.provider,
        binds=row.binds,
        allowed_requests=row.allowed_requests,
        allowed_tokens=row.allowed_tokens,
        allowed_cost=row.allowed_cost,
        resets_at=row.period_end,
        used_requests=row.used_requests,
        used_tokens=row.used_tokens,
        used_cost=row.used_cost,
        held_requests=held.requests,
        held_tokens=held.tokens,
        held_cost=from_nano(held.cost),
        rollover_requests=row.rollover_requests,
        rollover_tokens=row.rollover_tokens,
        rollover_cost=row.rollover_cost,
        soft=row.soft,
        slowed_from=row.pace_from,
        emergency_uses_left=max(0, row.buffer_uses - row.buffer_used) if row.buffer_percent else 0,
        **{f"{kind}_{name}": getattr(row, f"{kind}_{name}") for kind in ("received", "given") for name in DIMENSIONS},
    )


def _untouched(spec: LimitSpec, zone: str, now: datetime) -> QuotaStanding:
    return QuotaStanding(
        type=spec.type,
        label=_label(spec.type, spec.provider),
        provider=spec.provider,
        binds=spec.binds,
        allowed_requests=spec.requests,
        allowed_tokens=spec.tokens,
        allowed_cost=spec.cost,
        resets_at=period(spec.type, now, zone)[1],
        soft=spec.soft,
        slowed_from=spec.pace_from,
        emergency_uses_left=spec.buffer_uses if spec.buffer_percent else 0,
    )


def _label(type_: str, provider: str) -> str:
    names = {one.slug: one.name for one in registry.all_providers()}
    kind = str(LimitType(type_).label)
    return f"{kind}, {names.get(provider, provider)}" if provider else kind
