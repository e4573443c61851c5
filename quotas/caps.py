"""Budgets on own keys, teams' pools, caps of access tokens and of the house's keys."""

import logging
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from digitalme.accounts.models import Membership, User
from digitalme.audit.actions import Action
from digitalme.errors import InvalidRequest
from quotas import allocations, limits, owners, policy
from quotas.allocations import Need
from quotas.models import EACH_PROVIDER, Binds, Limit, LimitType
from quotas.owners import Owner

log = logging.getLogger(__name__)
BUDGETS = (LimitType.DAILY_BUDGET, LimitType.MONTHLY_BUDGET)
_PERIODS = (LimitType.DAILY, LimitType.MONTHLY)
# Which types each owner may have here. A team's daily and monthly limits are its pool on the house's keys,
# its budgets bind calls on its own keys.
TYPES: dict[str, tuple[LimitType, ...]] = {
    owners.USER: BUDGETS,
    owners.TEAM: (*_PERIODS, *BUDGETS),
    owners.TOKEN: _PERIODS,
    owners.OF_HOUSE: _PERIODS,
}


@dataclass(frozen=True, slots=True)
class Cap:
    """What a cap says. Empty amounts are unlimited, cost is in US dollars; a soft one warns and refuses nothing."""

    requests: int | None = None
    tokens: int | None = None
    cost: Decimal | None = None
    soft: bool = False


@transaction.atomic
def put(
    *,
    actor: User | None,
    owner: Owner,
    type: str,
    provider: str,
    cap: Cap,
    per_member: bool = False,
    now: datetime,
) -> Limit:
    """Give the owner this cap in place of the one of this type and provider; it holds at once.

    `owner` is a user (budgets on own keys), a team (its pool, and `per_member` what one member may draw from
    it; budgets on its own keys), a token, or the house. `provider` is a slug, empty for all together, or * for
    each by itself. What is used already stays used. `actor` is None on the command line. Raises InvalidRequest
    for a type, an amount or a provider that there cannot be. Who may do so is for the caller to know.
    """
    binds = _checked(owner, type, per_member)
    limits.check(provider, type, binds, cap.requests, cap.tokens, cap.cost)
    values = {"binds": binds, "requests": cap.requests, "tokens": cap.tokens, "cost": cap.cost, "soft": cap.soft}
    limit, _ = Limit.objects.update_or_create(
        **_columns(owner), per_member=per_member, provider=provider, type=type, defaults=values
    )
    log.info(
        "cap set owner=%s type=%s provider=%s by=%s", owner.place, type, provider, actor.pk if actor else "command"
    )
    limits.hold_at_once_for([owner], now=now)
    if provider != EACH_PROVIDER:
        # Other processes know of a new cap by its rows.
        spec, zone = policy.spec(limit, provider), policy.zones_of([owner])[owner.id]
        bound = _members(owner) if per_member else [owner]
        allocations.open_rows([Need(one, zone, spec) for one in bound], now)
    limits.record(Action.LIMIT_SET, limit, actor=actor)
    return limit


@transaction.atomic
def remove(*, actor: User | None, owner: Owner, limit_id: int, now: datetime) -> bool:
    """Take a cap away; it binds no longer from now on. Returns whether there was one of this owner."""
    limit = of(owner).filter(pk=limit_id).first()
    if limit is None:
        return False
    limit.delete()
    limit.pk = limit_id
    log.info("cap removed owner=%s type=%s by=%s", owner.place, limit.type, actor.pk if actor else "command")
    limits.hold_at_once_for([owner], now=now)
    limits.record(Action.LIMIT_REMOVED, limit, actor=actor)
    return True


def of(owner: Owner) -> QuerySet[Limit]:
    """Return the owner's caps; of a user, the budgets that the user sets, not what staff allows."""
    return Limit.objects.filter(**_columns(owner), type__in=TYPES[owner.scope]).order_by("provider", "type", "id")


def _members(team: Owner) -> list[Owner]:
    pairs = Membership.objects.filter(team_id=team.id).values_list("team_id", "user_id")
    return [owners.of_member(*pair) for pair in pairs]


def _columns(owner: Owner) -> dict[str, Any]:
    if owner.scope == owners.OF_HOUSE:
        return {"house": True}
    return {"user_id": owner.user_id, "team_id": owner.team_id, "token_id": owner.token_id}


def _checked(owner: Owner, type: str, per_member: bool) -> Binds:
    types = TYPES.get(owner.scope, ())
    if type not in types or (per_member and (owner.scope != owners.TEAM or type in BUDGETS)):
        raise InvalidRequest(f"Choose one of {', '.join(types)}.")
    if type in BUDGETS:
        return Binds.OWN
    return Binds.ALL if owner.scope == owners.TOKEN else Binds.SYSTEM
