"""Tell staff of models whose price is not known, once each."""

from datetime import datetime, timedelta
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Q

from digitalme.accounts.models import User
from digitalme.accounts.permissions import Permission
from digitalme.notifications import notices
from digitalme.notifications.kinds import Kind
from digitalme.notifications.models import Level, Notification
from digitalme.notifications.notices import Message
from usage.models import UsageRecord

# Longer than the clock takes to come round, and short enough to look through.
LOOKED_BACK = timedelta(hours=1)
# Callers choose the names: on keys of their own they may ask for any.
MOST_AT_ONCE = 20


def tell(*, now: datetime) -> int:
    """Tell those who may enter prices which models were called of late without one; return how many are new."""
    recent = UsageRecord.objects.filter(cost=None, timestamp__gte=now - LOOKED_BACK).order_by()
    called = recent.values_list("provider", "model").distinct()
    told = set(Notification.objects.filter(kind=Kind.UNPRICED).values_list("key", flat=True))
    new = sorted(one for one in called if _key(*one) not in told)[:MOST_AT_ONCE]
    staff = _staff() if new else []
    return sum(bool(notices.tell(staff, _message(*one), now=now)) for one in new)


def _key(provider: str, model: str) -> str:
    return f"unpriced:{provider}:{model}"


def _message(provider: str, model: str) -> Message:
    shown = " ".join(model.split())[:64] or "no model"
    return Message(
        kind=Kind.UNPRICED,
        level=Level.WARN,
        title=f"No price is known of {provider} {shown}",
        text="It is called on people's own keys. Its tokens are counted, its cost is not, so budgets in dollars do not "
        "bind it. Enter its price, then price those calls again with manage.py reprice.",
        link="/admin/providers/modelprice/add/?" + urlencode({"provider": provider, "model": model[:64]}),
        key=_key(provider, model),
        facts={"provider": provider, "model": shown},
    )


def _staff() -> list[UUID]:
    name = Permission.ADD_PRICES.rpartition(".")[2]
    able = User.objects.filter(Q(is_superuser=True) | Q(groups__permissions__codename=name), is_active=True)
    return list(able.values_list("pk", flat=True).distinct())
