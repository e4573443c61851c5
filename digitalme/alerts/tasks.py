"""When it is looked for what people should be warned of."""

from celery import shared_task
from django.utils import timezone

from digitalme.alerts import thresholds


@shared_task(name="alerts.watch_limits")  # type: ignore[untyped-decorator]  # Celery has no types
def watch_limits() -> int:
    """Tell of limits that run low; safe to run twice. Returns how many people were told."""
    return thresholds.run(now=timezone.now())


@shared_task(name="alerts.forget")  # type: ignore[untyped-decorator]
def forget() -> int:
    """Delete what was noted about periods that are over; safe to run twice."""
    return thresholds.forget(now=timezone.now())
