"""What is done about keys by the clock."""

from celery import shared_task
from django.utils import timezone

from apikeys import attempts, rechecks, reminders


@shared_task(name="apikeys.remind")  # type: ignore[untyped-decorator]  # Celery has no types
def remind() -> int:
    """Tell the owners of keys that expire or are to be replaced soon; safe to run twice."""
    return reminders.send(now=timezone.now())


@shared_task(name="apikeys.recheck")  # type: ignore[untyped-decorator]
def recheck() -> int:
    """Test keys that are in use, once a day each, and tell owners of dead ones; safe to run twice."""
    attempts.forget(now=timezone.now())
    return rechecks.run(now=timezone.now())
