"""Mails before a key expires or is to be replaced: 14 days before, 3 days before, and on the day."""

import logging
from datetime import UTC, date, datetime, timedelta

from django.db import transaction
from django.db.models import Q

from apikeys import letters
from apikeys.models import Credential

DAYS_BEFORE = (14, 3, 0)

log = logging.getLogger(__name__)


def deadline(credential: Credential) -> date | None:
    """Return the day by which a key is to be replaced: its last one, or an earlier one that was set."""
    last = (credential.expires_at - timedelta(microseconds=1)).astimezone(UTC).date() if credential.expires_at else None
    return min((day for day in (last, credential.rotate_by) if day), default=None)


def stage(end: date, today: date) -> int | None:
    """Return which reminder is due, by its days before the end; None if it is too early for any. One that
    was missed is made up for by the next."""
    left = (end - today).days
    return min((days for days in DAYS_BEFORE if left <= days), default=None)


def send(*, now: datetime) -> int:
    """Send what is due and not sent yet; return how many keys were written about. Safe to repeat: each of
    the three is sent once for each key and end."""
    soon = now + timedelta(days=max(DAYS_BEFORE) + 1)
    near = Credential.objects.filter(Q(rotate_by__lte=soon.date()) | Q(expires_at__lte=soon), is_active=True)
    near = near.exclude(reminded_days=0)
    return sum(_remind(credential, now.astimezone(UTC).date()) for credential in near.order_by("id"))


def _remind(credential: Credential, today: date) -> bool:
    end = deadline(credential)
    due = stage(end, today) if end else None
    if end is None or due is None:
        return False
    unsent = Q(reminded_days=None) | Q(reminded_days__gt=due)
    try:
        with transaction.atomic():
            if not Credential.objects.filter(unsent, id=credential.id).update(reminded_days=due):
                return False
            return _mail(credential, end, today)
    except OSError as problem:  # which what a mail server answers is too
        # Not noted as sent, so the next run tries again.
        log.warning("No reminder could be sent about key %s: %s", credential.id, type(problem).__name__)
        return False


def _mail(credential: Credential, end: date, today: date) -> bool:
    expires = credential.rotate_by is None or end < credential.rotate_by
    return letters.send("key_reminder", credential, end=end, days=(end - today).days, expires=expires)
