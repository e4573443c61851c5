"""The usage job: keep the rollups up with the records."""

from datetime import UTC, datetime

from celery import shared_task

from usage import bills, rollups


@shared_task(name="usage.roll_up")  # type: ignore[untyped-decorator]  # Celery has no types
def roll_up() -> int:
    """Sum up the hours that are complete; safe to run twice. Pages read what is not summed up yet from
    the records."""
    now = datetime.now(UTC)
    bills.forget(now=now)
    return rollups.roll_up(now=now)
