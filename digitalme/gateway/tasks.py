"""The gateway's jobs: give back the holds of processes that died, look after the audit trail, adjust limits."""

from datetime import UTC, datetime

from celery import shared_task

from digitalme.gateway import conduct, settlement, trail


@shared_task(name="gateway.sweep_leases")  # type: ignore[untyped-decorator]  # Celery has no types
def sweep_leases() -> int:
    """Settle expired leases until there are none; safe to run twice at once."""
    total = 0
    while swept := settlement.sweep(now=datetime.now(UTC)):
        total += swept
    return total


@shared_task(name="gateway.look_after_audit_trail")  # type: ignore[untyped-decorator]
def look_after_audit_trail() -> list[str]:
    """Verify the audit trail, then delete what is too old; returns what is wrong."""
    return trail.look_after(now=datetime.now(UTC))


@shared_task(name="gateway.adjust_limits")  # type: ignore[untyped-decorator]
def adjust_limits() -> int:
    """Compute anew which share of the tier's limits people get; safe to run twice. Returns for how many it changed."""
    return conduct.adjust_limits(now=datetime.now(UTC))
