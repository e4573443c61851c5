"""When it is looked for what people should be warned of."""

from celery import shared_task
from django.utils import timezone

from digitalme.alerts import failing_keys, pace, spending, thresholds


@shared_task(name="alerts.watch_limits")  # type: ignore[untyped-decorator]  # Celery has no types
def watch_limits() -> int:
    """Tell of limits that run low; safe to run twice. Returns how many people were told."""
    return thresholds.run(now=timezone.now())


@shared_task(name="alerts.watch_keys")  # type: ignore[untyped-decorator]
def watch_keys() -> int:
    """Test keys that were rejected in calls; safe to run twice. Returns how many were tested."""
    return failing_keys.run(now=timezone.now())


@shared_task(name="alerts.watch_spending")  # type: ignore[untyped-decorator]
def watch_spending() -> int:
    """Tell of days that cost much more than usual; safe to run twice. Returns how many people were told."""
    return spending.run(now=timezone.now())


@shared_task(name="alerts.watch_pace")  # type: ignore[untyped-decorator]
def watch_pace() -> int:
    """Tell of monthly limits that will not last; safe to run twice. Returns how many people were told."""
    return pace.run(now=timezone.now())


@shared_task(name="alerts.forget")  # type: ignore[untyped-decorator]
def forget() -> int:
    """Delete what was noted about periods that are over; safe to run twice."""
    return thresholds.forget(now=timezone.now())
