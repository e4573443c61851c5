"""Temporary raises: somebody asks for more than a limit allows, staff grants some of it until a day, or refuses.

A raise takes effect in the running period at once. It ends at its time without any job: the first call after that
finds the rows out of step and puts them right before it is admitted (known.ensure_periods).
"""

import logging
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import Q, QuerySet

from digitalme.accounts.models import User
from digitalme.audit import log as trail
from digitalme.audit.actions import Action
from digitalme.errors import InvalidRequest, NotFound, QuotaExceeded
from quotas import letters, limits, policy
from quotas.models import EACH_PROVIDER, LimitType, Raise

MOST_OPEN = 3
MOST_A_DAY = 5
LONGEST_DAYS = 366
# Longer than any process goes by what it knows of limits, so that none of them misses the end.
SHORTEST = timedelta(minutes=5)
_DAY = timedelta(days=1)

log = logging.getLogger(__name__)
State = Raise.State


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much more: None where nothing is; cost in US dollars."""

    requests: int | None = None
    tokens: int | None = None
    cost: Decimal | None = None

    def columns(self, prefix: str) -> dict[str, Any]:
        """Return them by the names of columns."""
        return {f"{prefix}_{name}": getattr(self, name) for name in ("requests", "tokens", "cost")}


def raises_of(user: User) -> QuerySet[Raise]:
    """Return what a person asked for and got, newest first."""
    return Raise.objects.filter(user=user).order_by("-created_at")


def told_of(user: User, newest: int) -> list[Raise]:
    """Return every raise of a person that is granted and so many of the others, newest first; without those that were
    withdrawn."""
    told = raises_of(user).exclude(state=State.WITHDRAWN).values("pk")[:newest]
    return list(raises_of(user).filter(Q(state=State.GRANTED) | Q(pk__in=told)))


@transaction.atomic
def ask(*, actor: User, type: str, provider: str, amounts: Amounts, until: date, why: str, now: datetime) -> Raise:
    """Ask for more of one of the actor's own limits, until the end of a day in their time zone; staff is told.

    Raises InvalidRequest for amounts, days or reasons that cannot be and for a limit that is not there or does not
    bound what is asked for, QuotaExceeded for too many at once or within a day.
    """
    why = " ".join(why.split())
    if not 1 <= len(why) <= 500:
        raise InvalidRequest("Say in a sentence what you need it for, in up to 500 characters.", field="why")
    check(actor, type, provider, amounts, until, now=now)
    User.objects.select_for_update().get(pk=actor.pk)
    _check_number(actor, now)
    asked = Raise.objects.create(
        user=actor,
        type=type,
        provider=provider,
        asked_until=until,
        why=why,
        created_at=now,
        **amounts.columns("asked"),
    )
    letters.tell_staff(asked)
    _record(Action.RAISE_ASKED, asked, actor, amounts)
    return asked


def _check_number(actor: User, now: datetime) -> None:
    mine = raises_of(actor)
    if mine.filter(state=State.ASKED).count() >= MOST_OPEN:
        raise InvalidRequest(f"Up to {MOST_OPEN} requests wait for an answer at a time. Withdraw one of yours first.")
    recent = list(
        mine.filter(asked_until__isnull=False, created_at__gt=now - _DAY).values_list("created_at", flat=True)
    )
    if len(recent) >= MOST_A_DAY:
        wait = int((min(recent) + _DAY - now).total_seconds()) + 1
        raise QuotaExceeded(f"One person asks up to {MOST_A_DAY} times a day. Go on later.", retry_after=wait)


@transaction.atomic
def withdraw(*, actor: User, raise_id: UUID) -> None:
    """Take back what one asked for, before it is answered. Raises NotFound for anything else."""
    mine = raises_of(actor).filter(pk=raise_id, state=State.ASKED)
    if not mine.update(state=State.WITHDRAWN):
        raise NotFound("You have no such open request.")


@transaction.atomic
def grant(*, actor: User | None, asked: Raise, amounts: Amounts, until: date, answer: str, now: datetime) -> None:
    """Grant what was asked for, or less, or more, until the end of a day in the person's time zone.

    It holds at once. Raises InvalidRequest for amounts and days that cannot be, or if it was answered already.
    """
    fresh = _open(asked)
    check(fresh.user, fresh.type, fresh.provider, amounts, until, now=now)
    _give(fresh, actor, amounts, until, answer, now)


@transaction.atomic
def give(
    *,
    actor: User | None,
    user: User,
    type: str,
    provider: str,
    amounts: Amounts,
    until: date,
    answer: str,
    now: datetime,
) -> Raise:
    """Grant a raise that nobody asked for. Raises InvalidRequest as `grant`."""
    check(user, type, provider, amounts, until, now=now)
    given = Raise(user=user, type=type, provider=provider, created_at=now)
    _give(given, actor, amounts, until, answer, now)
    return given


def _give(given: Raise, actor: User | None, amounts: Amounts, until: date, answer: str, now: datetime) -> None:
    given.state, given.starts_at, given.ends_at = State.GRANTED, now, end_of(until, given.user, now=now)
    given.answer, given.answered_by, given.answered_at = _sentence(answer), actor, now
    for name, value in amounts.columns("extra").items():
        setattr(given, name, value)
    given.save()
    limits.hold_at_once([given.user_id], now=now)
    letters.tell(given)
    days = (given.ends_at - now).days + 1
    _record(Action.RAISE_GRANTED, given, actor, amounts, lifetime_days=days)


@transaction.atomic
def refuse(*, actor: User | None, asked: Raise, answer: str, now: datetime) -> None:
    """Answer with no, and why. Raises InvalidRequest without a reason, or if it was answered already."""
    fresh, reason = _open(asked), _sentence(answer)
    if not reason:
        raise InvalidRequest("Say why, so that the person can do something about it.", field="answer")
    fresh.state, fresh.answer, fresh.answered_by, fresh.answered_at = State.REFUSED, reason, actor, now
    fresh.save()
    letters.tell(fresh)
    _record(Action.RAISE_REFUSED, fresh, actor, Amounts())


@transaction.atomic
def end(*, actor: User | None, granted: Raise, now: datetime) -> None:
    """End a raise before its time; it holds at once. One that is not running stays as it is."""
    running = Raise.objects.filter(pk=granted.pk, state=State.GRANTED)
    if running.update(state=State.ENDED):
        limits.hold_at_once([granted.user_id], now=now)
        _record(Action.RAISE_ENDED, granted, actor, Amounts())


def end_of(until: date, user: User, *, now: datetime) -> datetime:
    """Return when the day is over where the person is. Raises InvalidRequest for one that is too near or too far."""
    zone = ZoneInfo(user.time_zone)
    if until > now.astimezone(zone).date() + timedelta(days=LONGEST_DAYS):
        raise InvalidRequest(f"A raise lasts up to {LONGEST_DAYS} days.", field="until")
    ends_at = datetime.combine(until + _DAY, time(), zone)
    if ends_at < now + SHORTEST:
        raise InvalidRequest("Choose a day that is not over yet.", field="until")
    return ends_at


def _open(asked: Raise) -> Raise:
    fresh = Raise.objects.select_for_update(of=("self",)).select_related("user").get(pk=asked.pk)
    if fresh.state != State.ASKED:
        raise InvalidRequest("This request is answered already.")
    return fresh


def check(user: User, type: str, provider: str, amounts: Amounts, until: date, *, now: datetime) -> None:
    """Raise InvalidRequest for amounts and days that cannot be, or a limit that the person does not have."""
    end_of(until, user, now=now)
    limits.check(provider, type, None, amounts.requests, amounts.tokens, amounts.cost)
    wanted = {name: value for name, value in amounts.columns("x").items() if value is not None}
    if not wanted or not all(wanted.values()):
        raise InvalidRequest("Say how much more: a whole number of requests or tokens, or dollars.", field="amount")
    spec = policy.spec_of(policy.limits_for([user.pk])[user.pk], type, provider)
    if provider == EACH_PROVIDER or spec is None:
        raise InvalidRequest("There is no such limit to raise.", field="limit")
    if any(getattr(spec, name.removeprefix("x_")) is None for name in wanted):
        raise InvalidRequest("This limit does not bound that amount, so there is nothing to raise.", field="limit")


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    if len(text) > 500:
        raise InvalidRequest("An answer has up to 500 characters.", field="answer")
    return text


def _record(action: Action, one: Raise, actor: User | None, amounts: Amounts, **facts: Any) -> None:
    trail.record(
        action,
        target=f"raise:{one.pk}",
        subject=f"user:{one.user_id}",
        actor=actor.pk if actor else None,
        provider=one.provider,
        type=LimitType(one.type),
        requests=amounts.requests,
        tokens=amounts.tokens,
        cost=amounts.cost,
        **facts,
    )
    log.info("%s id=%s user=%s by=%s", action, one.pk, one.user_id, actor.pk if actor else "command")
