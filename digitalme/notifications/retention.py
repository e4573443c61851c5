"""How long what people were told is kept."""

from datetime import datetime, timedelta

from digitalme.notifications import deliveries
from digitalme.notifications.models import Notification

# Longer than any period whose thresholds are told once.
KEPT = timedelta(days=365)
AT_ONCE = 5_000


def forget(*, now: datetime) -> int:
    """Delete what is too old, a batch at a time; return how many notifications went."""
    deliveries.forget(now=now)
    total = 0
    while True:
        old = Notification.objects.filter(created_at__lt=now - KEPT).order_by("created_at").values_list("pk", flat=True)
        batch = list(old[:AT_ONCE])
        if not batch:
            return total
        Notification.objects.filter(pk__in=batch).delete()
        total += len(batch)
