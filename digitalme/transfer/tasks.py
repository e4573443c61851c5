"""The job of this package: forget what was kept for undoing, once its time is over."""

from datetime import UTC, datetime

from celery import shared_task

from apikeys import kept


@shared_task(name="transfer.forget_kept_keys")  # type: ignore[untyped-decorator]  # Celery has no types
def forget_kept_keys() -> int:
    """Delete former keys of the house that were kept for `apikeys.kept.KEEP`; safe to run twice."""
    return kept.forget_old(now=datetime.now(UTC))
