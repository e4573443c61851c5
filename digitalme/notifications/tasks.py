"""What is delivered, and forgotten, by the clock."""

from celery import shared_task
from django.utils import timezone

from digitalme.notifications import deliveries, letters, retention
from digitalme.notifications.workers import DELIVER


@shared_task(name=DELIVER)  # type: ignore[untyped-decorator]  # Celery has no types
def deliver() -> int:
    """Send the mails and post the events that are due; safe to run twice. Returns how many of them arrived."""
    return letters.send_due(now=timezone.now()) + deliveries.send_due(now=timezone.now())


@shared_task(name="notifications.forget")  # type: ignore[untyped-decorator]
def forget() -> int:
    """Delete what is too old; safe to run twice."""
    return retention.forget(now=timezone.now())
