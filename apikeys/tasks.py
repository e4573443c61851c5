"""What is done about keys by the clock."""

from celery import shared_task
from django.utils import timezone

from apikeys import reminders


@shared_task(name="apikeys.remind")  # type: ignore[untyped-decorator]  # Celery has no types
def remind() -> int:
    """Write to the owners of keys that expire or are to be replaced soon; safe to run twice."""
    return reminders.send(now=timezone.now())
