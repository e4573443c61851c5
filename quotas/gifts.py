"""Gifts: somebody gives a part of what is left of an own allowance to a person of a team of theirs, or to its pool.

A gift is moved from one row to another in one transaction, so nothing comes into being by it: what the giver may use
less, the receiver may use more, until the receiver's period ends. It is final. What cannot be given: demo allowances
and budgets; what a raise adds; what was received. Nobody, and no pool, receives more in a period than its own limit,
so that a crowd of accounts does not feed one without bounds.
"""

import logging
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet

from digitalme.accounts.models import Membership, User
from digitalme.audit import log as trail
from digitalme.audit.actions import Action
from digitalme.errors import InvalidRequest, NotFound, QuotaExceeded
from quotas import allocations, letters, limits, owners, policy
from quotas.allocations import Need
from quotas.models import EACH_PROVIDER, Allocation, Binds, Gift, LimitType
from quotas.owners import Owner
from quotas.policy import LimitSpec
from quotas.raises import Amounts

TYPES = (LimitType.DAILY, LimitType.MONTHLY)
MOST_A_DAY = 20
_DAY = timedelta(days=1)
_NAMES = ("requests", "tokens", "cost")

log = logging.getLogger(__name__)
Wanted = dict[str, int | Decimal]


def gifts_of(user: User) -> QuerySet[Gift]:
    """Return what a person gave, received, and what their teams' pools received, newest first."""
    teams = Membership.objects.filter(user=user).values("team_id")
    mine = Q(giver=user) | Q(receiver=user) | Q(team__in=teams)
    return Gift.objects.filter(mine).select_related("giver", "receiver", "team").order_by("-created_at", "-id")


def places_of(user: User) -> list[Membership]:
    """Return the places of the person, and of the active people to whom they may give, in the teams of the person."""
    teams = Membership.objects.filter(user=user).values("team_id")
    places = Membership.objects.filter(team__in=teams, user__is_active=True).select_related("user", "team")
    return list(places.order_by("team__name", "team_id", "user__email"))


def receiver_of(user: User, *, email: str = "", team: str = "") -> Owner:
    """Return who has this address among the people of the user's teams, or the team of this slug.

    Raises NotFound with the same words whether there is such an account or not.
    """
    for place in places_of(user):
        if team and place.team.slug == team:
            return owners.of_team(place.team_id)
        if email and place.user_id != user.pk and place.user.email.lower() == email.strip().lower():
            return owners.of_user(place.user_id)
    raise NotFound("Nobody in your teams has this address, or you belong to no such team.")


@transaction.atomic
def give(*, actor: User, to: Owner, type: str, provider: str, amounts: Amounts, now: datetime) -> Gift:
    """Move these amounts from the actor's allowance in the running period to that of `to`: a person who shares a team
    with the actor, or the pool of a team of the actor's. It holds at once; both sides are told.

    Raises InvalidRequest for what cannot be given or received and for more than is left, NotFound for anybody else,
    QuotaExceeded for too many gifts within a day.
    """
    limits.check(provider, type, None, amounts.requests, amounts.tokens, amounts.cost)
    wanted: Wanted = {name: value for name in _NAMES if (value := getattr(amounts, name)) is not None}
    if not all(wanted.values()):
        raise InvalidRequest("Say how much: a whole number of requests or tokens, or dollars.", field="amount")
    if type not in TYPES or provider == EACH_PROVIDER:
        raise InvalidRequest("Only daily and monthly allowances on the house's keys can be given.", field="limit")
    _check_reach(actor, to)
    # Others that point at this person meanwhile need not wait.
    User.objects.select_for_update(no_key=True).get(pk=actor.pk)
    _check_rate(actor, now)
    mine = owners.of_user(actor.pk)
    own, others = _specs(mine, to, type, provider)
    source, target = _locked(mine, to, type, provider, now)
    for name, amount in wanted.items():
        _check_left(source, own, name, amount)
        _check_room(target, others, name, amount)
    _move(source, wanted, "given", -1)
    _move(target, wanted, "received", 1)
    gift = Gift.objects.create(
        giver=actor,
        receiver_id=to.user_id,
        team_id=to.team_id,
        type=type,
        provider=provider,
        ends_at=target.period_end,
        created_at=now,
        **wanted,
    )
    letters.tell_of_gift(gift)
    _record(gift, to, actor)
    return gift


def _check_reach(actor: User, to: Owner) -> None:
    if to.id == actor.pk:
        raise InvalidRequest("This is yours already. Choose somebody else.", field="to")
    reached = {one for place in places_of(actor) for one in (place.user_id, place.team_id)}
    if to.scope not in (owners.USER, owners.TEAM) or to.id not in reached:
        raise NotFound("Nobody in your teams has this address, or you belong to no such team.")


def _check_rate(actor: User, now: datetime) -> None:
    recent = Gift.objects.filter(giver=actor, created_at__gt=now - _DAY).order_by("-created_at")
    counted = list(recent.values_list("created_at", flat=True)[:MOST_A_DAY])
    if len(counted) == MOST_A_DAY:
        wait = int((counted[-1] + _DAY - now).total_seconds()) + 1
        raise QuotaExceeded(f"One person gives up to {MOST_A_DAY} times a day. Go on later.", retry_after=wait)


def _specs(mine: Owner, to: Owner, type: str, provider: str) -> tuple[LimitSpec, LimitSpec]:
    """Return both limits as they are without raises."""
    found = policy.limits_of([mine, to])
    own, others = (policy.spec_of(found.get(one.id, []), type, provider) for one in (mine, to))
    if own is None or own.binds != Binds.SYSTEM or own.soft:
        raise InvalidRequest("You have no such allowance to give of.", field="limit")
    if others is None or others.binds != Binds.SYSTEM:
        raise InvalidRequest("They have no limit of this kind to which it could be added.", field="to")
    return own, others


def _locked(mine: Owner, to: Owner, type: str, provider: str, now: datetime) -> tuple[Allocation, Allocation]:
    """Return both rows of the running period, made if they are not there, locked in the ledger's order."""
    allocations.lapse({mine.id}, now=now)
    allowed, zones = policy.allowed_for([mine, to], at=now), policy.zones_of([mine, to])
    specs = {one.id: policy.spec_of(allowed[one.id], type, provider) for one in (mine, to)}
    needs = [Need(one, zones[one.id], spec) for one in (mine, to) if (spec := specs[one.id])]
    rows = allocations.open_rows(needs, now)
    ids = [rows[need.place].pk for need in needs]
    locked = {row.owner_id: row for row in Allocation.objects.filter(pk__in=ids).order_by("id").select_for_update()}
    return locked[mine.id], locked[to.id]


def left_to_give(row: Allocation, own: LimitSpec, name: str) -> int | Decimal | None:
    """Return how much of it can be given: what neither settled nor running calls use, and neither a raise nor somebody
    else gave. None where nothing is bounded."""
    allowed, limit = getattr(row, f"allowed_{name}"), getattr(own, name)
    if allowed is None or limit is None:
        return None
    kept = limit + getattr(row, f"rollover_{name}") - getattr(row, f"given_{name}")
    left: int | Decimal = max(limit * 0, min(allowed - getattr(row, f"used_{name}"), kept))
    return left


def _check_left(row: Allocation, own: LimitSpec, name: str, amount: int | Decimal) -> None:
    left = left_to_give(row, own, name)
    if left is None:
        raise InvalidRequest("This allowance does not bound that, so there is nothing to give.", field="limit")
    if amount > left:
        told = f"{left:,.2f} dollars" if name == "cost" else f"{left:,} {name}"
        raise InvalidRequest(f"You have {told} left to give in this period.", field="amount")


def _check_room(row: Allocation, others: LimitSpec, name: str, amount: int | Decimal) -> None:
    limit = getattr(others, name)
    if limit is None or getattr(row, f"allowed_{name}") is None or not row.is_active:
        raise InvalidRequest("They have no limit of this kind to which it could be added.", field="to")
    if getattr(row, f"received_{name}") + amount > limit:
        raise InvalidRequest("Nobody receives more in a period than their own limit allows. Give less.", field="amount")


def _move(row: Allocation, wanted: Wanted, kind: str, sign: int) -> None:
    """Write it into a row that is locked."""
    changes: dict[str, Any] = {}
    for name, amount in wanted.items():
        changes[f"allowed_{name}"] = getattr(row, f"allowed_{name}") + sign * amount
        changes[f"{kind}_{name}"] = getattr(row, f"{kind}_{name}") + amount
    Allocation.objects.filter(pk=row.pk).update(**changes)


def _record(gift: Gift, to: Owner, actor: User) -> None:
    trail.record(
        Action.GIFT_GIVEN,
        target=f"gift:{gift.pk}",
        subject=to.place,
        actor=actor.pk,
        provider=gift.provider,
        type=LimitType(gift.type),
        requests=gift.requests,
        tokens=gift.tokens,
        cost=gift.cost,
    )
    log.info("%s id=%s by=%s to=%s", Action.GIFT_GIVEN, gift.pk, actor.pk, to.place)
