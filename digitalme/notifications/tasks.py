"""What is delivered, and forgotten, by the clock."""

import logging

from celery import shared_task
from django.utils import timezone
from kombu.exceptions import KombuError

from digitalme.notifications import letters, retention

# What lies in the broker longer than until the clock asks by itself need not be asked for any more.
EXPIRES_SECONDS = 60

log = logging.getLogger(__name__)


@shared_task(name="notifications.deliver")  # type: ignore[untyped-decorator]  # Celery has no types
def deliver() -> int:
    """Send the mails that are due; safe to run twice. Returns how many went out."""
    return letters.send_due(now=timezone.now())


@shared_task(name="notifications.forget")  # type: ignore[untyped-decorator]
def forget() -> int:
    """Delete what is too old; safe to run twice."""
    return retention.forget(now=timezone.now())


def deliver_soon() -> None:
    """Ask a worker to deliver now. If nobody can be asked, the clock does it within the minute."""
    try:
        deliver.apply_async(expires=EXPIRES_SECONDS, retry=False)
    except (KombuError, OSError) as problem:
        log.warning("No worker could be asked to deliver: %s", type(problem).__name__)
