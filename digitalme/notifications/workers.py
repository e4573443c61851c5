"""Ask a worker to deliver what was just committed."""

import logging

from celery import signature
from kombu.exceptions import KombuError

DELIVER = "notifications.deliver"
# What lies in the broker longer than until the clock asks by itself need not be asked for any more.
EXPIRES_SECONDS = 60

log = logging.getLogger(__name__)


def deliver_soon() -> None:
    """Ask a worker to deliver now. If nobody can be asked, the clock does it within the minute."""
    try:
        signature(DELIVER).apply_async(expires=EXPIRES_SECONDS, retry=False)
    except (KombuError, OSError) as problem:
        log.warning("No worker could be asked to deliver: %s", type(problem).__name__)
