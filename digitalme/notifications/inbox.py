"""What somebody was told, and whether they read it."""

from datetime import datetime
from uuid import UUID

from django.db.models import Case, QuerySet, Value, When

from digitalme.errors import NotFound
from digitalme.notifications.models import Notification

# The bell counts no further.
MOST_COUNTED = 100


def of(user_id: UUID) -> QuerySet[Notification]:
    """Return what is in somebody's inbox, newest first."""
    return Notification.objects.filter(user_id=user_id, in_inbox=True)


def unread_first(user_id: UUID) -> QuerySet[Notification]:
    """Return what is in somebody's inbox, what they did not read yet before the rest, each newest first."""
    seen = Case(When(read_at=None, then=Value(0)), default=Value(1))
    return of(user_id).order_by(seen, "-created_at", "-id")


def unread(user_id: UUID) -> int:
    """Return how many somebody has not read, up to MOST_COUNTED; one query."""
    return of(user_id).filter(read_at=None)[:MOST_COUNTED].count()


def mark_read(user_id: UUID, notification_id: UUID, *, now: datetime) -> Notification:
    """Note that somebody read one, and return it. The time of the first reading stays. Raises NotFound."""
    mine = of(user_id).filter(pk=notification_id)
    mine.filter(read_at=None).update(read_at=now)
    found = mine.first()
    if found is None:
        raise NotFound("There is no such notification of yours.")
    return found


def mark_all_read(user_id: UUID, *, now: datetime) -> int:
    """Note that somebody read all there is until now; return how many they had not."""
    return of(user_id).filter(read_at=None, created_at__lte=now).update(read_at=now)
