"""The gateway's job: give back the holds of processes that died."""

from datetime import UTC, datetime

from celery import shared_task

from digitalme.gateway import settlement


@shared_task(name="gateway.sweep_leases")  # type: ignore[untyped-decorator]  # Celery has no types
def sweep_leases() -> int:
    """Settle expired leases until there are none; safe to run twice at once."""
    total = 0
    while swept := settlement.sweep(now=datetime.now(UTC)):
        total += swept
    return total
