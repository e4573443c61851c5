"""Delete what is older than it is kept, so that the rest can still be proven whole."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Min

from digitalme.audit import log
from digitalme.audit.actions import Action
from digitalme.audit.models import AuditEvent
from digitalme.errors import AuditUnavailable

AT_ONCE = 5_000  # in one transaction, which everybody else's changes wait for


def purge(*, now: datetime) -> int:
    """Delete the events that are more than DIGITALME_AUDIT_RETENTION_DAYS old; return how many there were.

    The last one's link stays as the anchor that the rest hangs on. Each portion is an event itself. This
    is the one way to delete events that the database lets pass. Raises AuditUnavailable for a trail that
    is not whole where it would be cut.
    """
    before = now - timedelta(days=settings.DIGITALME_AUDIT_RETENTION_DAYS)
    total = 0
    while gone := _portion(before, now):
        total += gone
    return total


@transaction.atomic
def _portion(before: datetime, now: datetime) -> int:
    head = log.locked_head()
    kept = AuditEvent.objects.filter(at__gte=before).aggregate(first=Min("sequence"))["first"]
    # Only from the beginning on: an event that a clock running late stamped too old waits for its neighbours.
    through = min((kept - 1) if kept else head.sequence, head.anchor_sequence + AT_ONCE)
    if through <= head.anchor_sequence:
        return 0
    last = AuditEvent.objects.filter(sequence=through).first()
    if last is None:
        raise AuditUnavailable("The audit trail is not whole, so nothing of it is deleted; see manage.py verify_audit.")
    head.purging_through = through
    log.save_head(head)
    gone, _ = AuditEvent.objects.filter(sequence__lte=through).delete()
    head.anchor_sequence, head.anchor_hash, head.purging_through = through, last.hash, None
    log.save_head(head)
    log.record(Action.AUDIT_PURGED, target="audit", subject="system", now=now, count=gone, through=through)
    return gone
