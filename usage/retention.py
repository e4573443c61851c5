"""How long single calls are kept. The sums by hour and day that are made of them stay for ever.

Nothing goes that is not summed up yet, or that an export still has to read. Whatever goes, goes with the note of it:
the mark says from when on every call is there, and that what lies before is not to be summed up again.
"""

import logging
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import OperationalError, transaction
from django.db.models import Min

from digitalme.audit import log as audit
from digitalme.audit.actions import Action
from digitalme.database import on_sqlite
from usage import large_exports, partitions
from usage.exports import Selection
from usage.models import Export, ReopenedHour, RollupMark, UsageRecord
from usage.rollups import HOUR, hour_of

log = logging.getLogger(__name__)
AT_ONCE = 5_000  # in one transaction, which an embedded database lets nobody else write beside


def purge(*, now: datetime) -> int:
    """Delete calls older than DIGITALME_USAGE_RETENTION_DAYS; return how many there were. Safe to run twice, and at
    once.

    On PostgreSQL whole months go, once the last of their days is old enough; what lies beside the months, and
    everything on SQLite, goes a batch at a time.
    """
    before, total = limit(now), 0
    if not on_sqlite():
        for month in partitions.there():
            if month.end <= before:
                total += _drop(month, before, now)
    while gone := _delete(before, now):
        total += gone
    if total:
        log.info("Deleted %s calls from before %s; their sums stay.", total, before.isoformat())
    return total


def limit(now: datetime) -> datetime:
    """Return before when calls are too old: a midnight in UTC."""
    oldest = now.astimezone(UTC) - timedelta(days=settings.DIGITALME_USAGE_RETENTION_DAYS)
    return oldest.replace(hour=0, minute=0, second=0, microsecond=0)


def kept_from() -> datetime | None:
    """Return from when on every call is there; None if none was ever deleted."""
    return RollupMark.objects.filter(id=1).values_list("kept_from", flat=True).first()


def sentence() -> str:
    """Say what is kept how long."""
    days = settings.DIGITALME_USAGE_RETENTION_DAYS
    longer = "" if on_sqlite() else " and until the end of their month"
    return f"Single calls are kept for {days} days{longer}; the sums by hour and day stay."


@transaction.atomic
def _delete(before: datetime, now: datetime) -> int:
    """Delete a batch of what lies in no month."""
    mark = _locked_mark()
    if mark is None:
        return 0
    batch = UsageRecord.objects.filter(pk__in=partitions.oldest_outside(min(before, mark.rolled_until), AT_ONCE))
    # Who prices one of them anew ends first, and leaves word that its hour is to be summed up again.
    times = dict(batch.select_for_update().order_by().values_list("pk", "timestamp"))
    allowed = _allowed(before, mark)
    going = {pk: at for pk, at in times.items() if at < allowed}
    if not going:
        return 0
    UsageRecord.objects.filter(pk__in=going).delete()
    _note(mark, max(going.values()), len(going), now)
    return len(going)


def _drop(month: partitions.Month, before: datetime, now: datetime) -> int:
    """Drop a month, if every call in it may go; return how many there were."""
    try:
        with transaction.atomic():
            mark = _locked_mark()
            if mark is None:
                return 0
            count = partitions.count(month)
            partitions.hold(month)
            last = partitions.last(month)
            if last and last >= _allowed(before, mark):
                return 0
            partitions.drop(month)
            if last:
                _note(mark, last, count, now)
            return count
    except OperationalError as problem:
        # Somebody reads for longer than callers may be kept waiting; the next run comes within the hour.
        log.warning("The calls of %s could not be dropped now: %s", month, type(problem).__name__)
        return 0


def _locked_mark() -> RollupMark | None:
    """Lock and return the mark, so that nothing is summed up meanwhile; None if nothing ever was."""
    return RollupMark.objects.select_for_update().filter(id=1).first()


def _allowed(before: datetime, mark: RollupMark) -> datetime:
    """Return before when calls may go: they are old, summed up, in no hour to be summed up again, and no export that
    is being made has yet to read them."""
    reopened = ReopenedHour.objects.filter(hour__lt=before).aggregate(first=Min("hour"))["first"]
    bounds = [before, mark.rolled_until, reopened]
    for export in Export.objects.filter(state__in=large_exports.OPEN):
        # From its beginning on, though it be written in part: it may have to begin anew.
        bounds.append(Selection.of_json(export.selection).start or datetime.min.replace(tzinfo=UTC))
    return hour_of(min(bound for bound in bounds if bound))


def _note(mark: RollupMark, last: datetime, count: int, now: datetime) -> None:
    """Remember that calls up to this one are gone, and put that into the audit trail."""
    end = hour_of(last) + HOUR
    mark.kept_from = max(mark.kept_from or end, end)
    mark.save(update_fields=["kept_from"])
    audit.record(Action.USAGE_PURGED, target="usage", subject="system", now=now, count=count)
