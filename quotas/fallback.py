"""A person's consent that the house's key steps in when a key of their own fails, up to an amount a month."""

from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import QuerySet

from digitalme.accounts.models import User
from digitalme.audit import log as trail
from digitalme.audit.actions import Action
from digitalme.errors import InvalidRequest
from quotas import allocations, limits, owners, policy
from quotas.allocations import Need
from quotas.models import ALL_PROVIDERS, Binds, Limit, LimitType

LEAST, MOST = Decimal("0.01"), Decimal(1_000_000)
Choice = User.Fallback


def amount_of(user: User) -> Decimal | None:
    """Return how many dollars a month a person agreed to; None without consent."""
    return _limits(user).values_list("cost", flat=True).first()


@transaction.atomic
def consent(*, actor: User, choice: str, cost: Decimal | None, now: datetime) -> None:
    """Set what happens when one of the actor's own keys fails: `stop`, `ask` (each call says by itself that the house's
    key may serve it) or `demo` (it does, up to `cost` dollars a month). It holds for the next call.

    Calls on the house's key stay bound by all limits on it. Raises InvalidRequest for another choice, or an amount
    that is none or missing.
    """
    if choice not in Choice.values:
        raise InvalidRequest(f"Choose one of {', '.join(Choice.values)}.", field="fallback")
    if choice == Choice.DEMO and (cost is None or not cost.is_finite() or not LEAST <= cost <= MOST):
        raise InvalidRequest(f"Say up to how many dollars a month: {LEAST} to {MOST}.", field="fallback_cost")
    User.objects.select_for_update().get(pk=actor.pk)
    User.objects.filter(pk=actor.pk).update(fallback=choice)
    actor.fallback = choice
    if choice == Choice.DEMO:
        _bound(actor, cost, now)
    else:
        _limits(actor).delete()
        limits.hold_at_once([actor.pk], now=now)
    place = f"user:{actor.pk}"
    trail.record(
        Action.USER_FALLBACK_CHANGED,
        target=place,
        subject=place,
        actor=actor.pk,
        method=Choice(choice),
        cost=cost if choice == Choice.DEMO else None,
    )


def _bound(user: User, cost: Decimal | None, now: datetime) -> None:
    values = {"binds": Binds.FALLBACK, "cost": cost, "requests": None, "tokens": None}
    limit, _ = Limit.objects.update_or_create(
        user=user, type=LimitType.FALLBACK, provider=ALL_PROVIDERS, defaults=values
    )
    limits.hold_at_once([user.pk], now=now)
    # Its row is made at once, by which every process knows of it.
    spec = policy.spec(limit, ALL_PROVIDERS)
    allocations.open_rows([Need(owners.of_user(user.pk), user.time_zone, spec)], now)


def _limits(user: User) -> QuerySet[Limit]:
    return Limit.objects.filter(user=user, type=LimitType.FALLBACK)
