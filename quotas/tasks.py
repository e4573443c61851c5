"""The quotas' job: prepare the rows of periods that begin soon."""

from datetime import UTC, datetime, timedelta

from celery import shared_task

from quotas import allocations

AHEAD = timedelta(minutes=15)


@shared_task(name="quotas.open_periods")  # type: ignore[untyped-decorator]  # Celery has no types
def open_periods() -> int:
    """End raises whose time is over, and make the next period's row for each that ends soon; safe to run twice.

    Calls never wait for it: the first call in a period makes what is missing, and the first one after a raise
    takes back what that allowed.
    """
    now = datetime.now(UTC)
    allocations.lapse(now=now)
    return allocations.prepare(now=now, ahead=AHEAD)
