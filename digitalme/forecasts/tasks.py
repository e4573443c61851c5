"""When forecasts are made."""

import logging

from celery import shared_task
from django.utils import timezone
from kombu.exceptions import KombuError

from digitalme.forecasts import making

log = logging.getLogger(__name__)


@shared_task(name="forecasts.make")  # type: ignore[untyped-decorator]  # Celery has no types
def make() -> int:
    """Make the forecasts of whoever is next, and have the others' made behind it; safe to run twice. Returns of how
    many people and teams they were."""
    done, more = making.make(now=timezone.now())
    if more:
        make_soon()
    return done


def make_soon() -> None:
    """Ask a worker for the next forecasts. If nobody can be asked, the clock does within the hour."""
    try:
        make.apply_async(retry=False)
    except (KombuError, OSError) as problem:
        log.warning("No worker could be asked for forecasts: %s", type(problem).__name__)
