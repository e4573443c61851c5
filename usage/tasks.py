"""The jobs of usage: keep the rollups up with the records, and make exports."""

import logging
from datetime import UTC, datetime
from uuid import UUID

from celery import shared_task
from kombu.exceptions import KombuError

from usage import bills, large_exports, partitions, retention, rollups, unpriced

log = logging.getLogger(__name__)


@shared_task(name="usage.roll_up")  # type: ignore[untyped-decorator]  # Celery has no types
def roll_up() -> int:
    """Sum up the hours that are complete; safe to run twice. Pages read what is not summed up yet from
    the records."""
    now = datetime.now(UTC)
    bills.forget(now=now)
    return rollups.roll_up(now=now)


@shared_task(name="usage.make_export")  # type: ignore[untyped-decorator]
def make_export(export_id: str) -> None:
    """Write the next slice of an export, and have the one behind it written; safe to run twice."""
    if large_exports.work(UUID(export_id), now=datetime.now(UTC)):
        make_export_soon(UUID(export_id))


@shared_task(name="usage.look_after_exports")  # type: ignore[untyped-decorator]
def look_after_exports() -> int:
    """Delete exports that have expired and take up those that a worker left; safe to run twice."""
    return len(large_exports.look_after(now=datetime.now(UTC)))


@shared_task(name="usage.tell_of_unpriced")  # type: ignore[untyped-decorator]
def tell_of_unpriced() -> int:
    """Tell staff of models whose price is not known; safe to run twice, each is told once."""
    return unpriced.tell(now=datetime.now(UTC))


@shared_task(name="usage.keep_records")  # type: ignore[untyped-decorator]
def keep_records() -> int:
    """Make the coming months' tables, then delete calls that are too old; safe to run twice. Returns how many went."""
    now = datetime.now(UTC)
    partitions.make_ahead(now=now)
    return retention.purge(now=now)


def make_export_soon(export_id: UUID) -> None:
    """Ask a worker for the next slice. If nobody can be asked, the clock does within a minute or two."""
    try:
        make_export.apply_async([str(export_id)], retry=False)
    except (KombuError, OSError) as problem:
        log.warning("No worker could be asked for an export: %s", type(problem).__name__)
