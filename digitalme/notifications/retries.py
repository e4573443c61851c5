"""When what could not be delivered is tried again: eight times within a day, further and further apart."""

from datetime import datetime, timedelta

WAITS = (
    timedelta(seconds=30),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=8),
    timedelta(hours=8),
)
# Whoever takes something to deliver has so long; then it is due again, because who took it was killed.
CLAIM = timedelta(minutes=5)


def next_try(attempts: int, now: datetime) -> datetime | None:
    """Return when to try again after so many attempts (1 or more), all of them in vain; None to give up."""
    return now + WAITS[attempts - 1] if attempts <= len(WAITS) else None
