"""Give a user a limit of their own."""

import logging
from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import transaction

from digitalme.accounts.models import User
from digitalme.audit import log as trail
from digitalme.audit.actions import Action
from digitalme.errors import InvalidRequest, NotFound
from providers import registry
from quotas import allocations, known, owners, policy
from quotas.allocations import Need
from quotas.models import ALL_PROVIDERS, EACH_PROVIDER, Allocation, Binds, Limit, LimitType
from quotas.owners import Owner

log = logging.getLogger(__name__)
MOST_COUNTED = 10**15
MOST_DOLLARS = Decimal(10) ** 8
# What a limit of this type binds, unless it is told otherwise.
BINDS = {LimitType.FAIR_USE: Binds.OWN, LimitType.DAILY_BUDGET: Binds.OWN, LimitType.MONTHLY_BUDGET: Binds.OWN}
BINDS[LimitType.FALLBACK] = Binds.FALLBACK


@transaction.atomic
def set_allocation(
    *,
    actor: User | None,
    user: User,
    provider: str,
    type: str,
    requests: int | None = None,
    tokens: int | None = None,
    cost: Decimal | None = None,
    binds: str | None = None,
    now: datetime,
) -> Allocation | None:
    """Give the user a limit of their own and return its row in the current period.

    It holds at once, and in every period to come. What is used already stays used. An amount that is
    not given stays as it is: the user's own, else that of the limit which this one replaces.
    `provider` is a slug, empty for all together, or * for each by itself (then nothing is returned).
    `actor` is None on the command line. Raises InvalidRequest for a type, an amount or a provider that
    there cannot be.
    """
    check(provider, type, binds, requests, tokens, cost)
    before = policy.spec_of(policy.limits_for([user.id])[user.id], type, provider)
    limit, _ = Limit.objects.update_or_create(
        user=user,
        provider=provider,
        type=type,
        defaults={
            "binds": binds or (before.binds if before else BINDS.get(LimitType(type), Binds.SYSTEM)),
            "requests": requests if requests is not None or before is None else before.requests,
            "tokens": tokens if tokens is not None or before is None else before.tokens,
            "cost": cost if cost is not None or before is None else before.cost,
        },
    )
    log.info("limit set user=%s type=%s provider=%s by=%s", user.id, type, provider, actor.id if actor else "command")
    owner = owners.of_user(user.id)
    allocations.apply([owner], now=now)
    row = None
    if provider != EACH_PROVIDER:
        need = Need(owner, user.time_zone, policy.spec(limit, provider))
        row = allocations.open_rows([need], now)[need.place]
    record(Action.ALLOCATION_SET, limit, actor=actor)
    return row


def record(action: Action, limit: Limit, *, actor: User | None) -> None:
    """Write into the audit trail what a limit says now, or said; called last in the transaction of the change."""
    known_provider = limit.provider in {ALL_PROVIDERS, EACH_PROVIDER, *(one.slug for one in registry.all_providers())}
    trail.record(
        action,
        target=f"limit:{limit.pk}",
        subject=_subject(limit),
        actor=actor.pk if actor else None,
        # In the admin anything may be typed there; only a provider's name is kept.
        provider=limit.provider if known_provider else None,
        type=LimitType(limit.type),
        binds=Binds(limit.binds),
        requests=limit.requests,
        tokens=limit.tokens,
        cost=limit.cost,
    )


def _subject(limit: Limit) -> str:
    return f"tier:{limit.tier_id}" if limit.tier_id else owners.of_limit(limit).place


def hold_at_once(user_ids: Collection[UUID], *, now: datetime) -> None:
    """Carry limits that were changed, or a change of tier, into the periods that are counted now."""
    hold_at_once_for([owners.of_user(one) for one in user_ids], now=now)


def hold_at_once_for(of: Collection[Owner], *, now: datetime) -> None:
    """The same, for any owners."""
    allocations.apply(of, now=now)
    transaction.on_commit(known.forget)


def check(
    provider: str, type: str, binds: str | None, requests: int | None, tokens: int | None, cost: Decimal | None
) -> None:
    """Raise InvalidRequest for a type, an amount or a provider that there cannot be."""
    if type not in LimitType.values:
        raise InvalidRequest(f"There is no limit of this type. Choose one of {', '.join(LimitType.values)}.")
    if binds is not None and binds not in Binds.values:
        raise InvalidRequest(f"A limit binds one of {', '.join(Binds.values)}.")
    if provider not in (ALL_PROVIDERS, EACH_PROVIDER):
        try:
            registry.get(provider)
        except NotFound:
            raise InvalidRequest("There is no provider of this name.") from None
    if requests is None and tokens is None and cost is None:
        raise InvalidRequest("Give at least one of requests, tokens and cost.")
    if any(amount is not None and not 0 <= amount <= MOST_COUNTED for amount in (requests, tokens)):
        raise InvalidRequest(f"Requests and tokens are whole numbers from 0 to {MOST_COUNTED}.")
    if cost is not None and not (cost.is_finite() and 0 <= cost <= MOST_DOLLARS):
        raise InvalidRequest(f"The cost is an amount from 0 to {MOST_DOLLARS} US dollars.")
