"""Reminders before a key expires or is to be replaced: 14 days before, 3 days before, and on the day."""

from datetime import UTC, date, datetime, timedelta

from django.db import transaction
from django.db.models import Q

from apikeys import letters
from apikeys.models import Credential
from digitalme.notifications.kinds import Kind
from digitalme.notifications.models import Level

DAYS_BEFORE = (14, 3, 0)


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
    return sum(_remind(credential, now) for credential in near.order_by("id"))


def _remind(credential: Credential, now: datetime) -> bool:
    end = deadline(credential)
    due = stage(end, now.astimezone(UTC).date()) if end else None
    if end is None or due is None:
        return False
    unsent = Q(reminded_days=None) | Q(reminded_days__gt=due)
    with transaction.atomic():
        if not Credential.objects.filter(unsent, id=credential.id).update(reminded_days=due):
            return False
        return _tell(credential, end, now)


def _tell(credential: Credential, end: date, now: datetime) -> bool:
    expires = credential.rotate_by is None or end < credential.rotate_by
    days = (end - now.astimezone(UTC).date()).days
    last = f"{end.day} {end:%B %Y}"
    text = f"Its last day {'is' if days >= 0 else 'was'} {last}." if expires else f"It is to be replaced by {last}."
    return letters.tell(
        "key_reminder",
        credential,
        kind=Kind.KEY_EXPIRING,
        level=Level.WARN,
        text=text,
        now=now,
        end=end,
        days=days,
        expires=expires,
    )
