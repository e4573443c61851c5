"""The quotas' job: prepare the rows of periods that begin soon."""

from datetime import UTC, datetime, timedelta

from celery import shared_task

from quotas import allocations, emergencies

AHEAD = timedelta(minutes=15)


@shared_task(name="quotas.open_periods")  # type: ignore[untyped-decorator]  # Celery has no types
def open_periods() -> int:
    """End raises whose time is over, and make the next period's row for each that ends soon; safe to run twice.

    Uses of the emergency buffer that a process could not write into the audit trail any more are written there.
    Calls never wait for it: the first call in a period makes what is missing, and the first one after a raise
    takes back what that allowed.
    """
    now = datetime.now(UTC)
    allocations.lapse(now=now)
    emergencies.write_down(now=now)
    return allocations.prepare(now=now, ahead=AHEAD)
