"""What is known of how people use this server, from the records, the trail and their accounts: the daily adjustment of
their limits goes by it."""

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Count, Q, Sum

from digitalme.accounts.models import User
from digitalme.audit.actions import Action
from digitalme.audit.models import AuditEvent
from quotas import adjustment
from quotas.adjustment import Facts
from quotas.models import Adjustment
from usage.models import DailyUsage

AT_ONCE = 200
MONTH, WEEK = timedelta(days=30), timedelta(days=7)
_REJECTED = ("invalid", "expired", "limited")


def adjust_limits(*, now: datetime) -> int:
    """Compute everybody's share anew who called within a month, or whose share was computed before; return for how many
    it changed. Safe to run twice, and nothing depends on its running."""
    called = DailyUsage.objects.filter(day__gt=(now - MONTH).date()).values("user_id")
    people = User.objects.filter(Q(pk__in=called) | Q(pk__in=Adjustment.objects.values("user_id")))
    ids = list(people.order_by("pk").values_list("pk", flat=True))
    return sum(adjustment.adjust(facts(ids[at : at + AT_ONCE], now=now), now=now) for at in range(0, len(ids), AT_ONCE))


def facts(user_ids: Collection[UUID], *, now: datetime) -> dict[UUID, Facts]:
    """Return what is known of each of these users."""
    people = User.objects.filter(pk__in=user_ids).select_related("tier")
    payments = dict(Adjustment.objects.filter(user_id__in=user_ids).values_list("user_id", "payment"))
    usage = DailyUsage.objects.filter(user_id__in=user_ids).order_by().values("user_id")
    month = usage.filter(day__gt=(now - MONTH).date()).annotate(days=Count("day", distinct=True))
    week = usage.filter(day__gt=(now - WEEK).date()).annotate(calls=Sum("requests"), bad=Sum("refused"))
    days = {one["user_id"]: one["days"] for one in month}
    calls = {one["user_id"]: (one["calls"], one["bad"]) for one in week}
    rejected = _rejected_tests(user_ids, now)
    return {
        one.pk: Facts(
            account_days=(now - one.date_joined).days,
            payment=payments.get(one.pk, Adjustment.Payment.NONE),
            paying_tier=one.tier is not None and not one.tier.is_default,
            active_days=days.get(one.pk, 0),
            failed_validations=rejected.get(f"user:{one.pk}", 0),
            calls=calls.get(one.pk, (0, 0))[0],
            refused=calls.get(one.pk, (0, 0))[1],
        )
        for one in people
    }


def _rejected_tests(user_ids: Collection[UUID], now: datetime) -> dict[str, int]:
    tested = AuditEvent.objects.filter(
        action=Action.CREDENTIAL_TESTED.value,
        actor__in=[f"user:{one}" for one in user_ids],
        facts__category__in=_REJECTED,
        at__gt=now - WEEK,
    )
    return dict(tested.order_by().values_list("actor").annotate(count=Count("pk")))
