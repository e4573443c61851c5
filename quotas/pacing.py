"""How fast the rest of a limit may be used, so that it lasts: pure arithmetic.

Up to a share of the limit calls go at full speed. What is above that share becomes free evenly over the
period: all of it is free at the period's end, half of it at half time. A call may start as soon as what was
used before it is free; so somebody who calls seldom never waits, and nobody goes from full speed to nothing.
"""

from datetime import datetime, timedelta

# A call waits in the gateway for up to this long; beyond it, it is refused with the exact time to wait.
LONGEST_WAIT = 5.0
_NO_WAIT = timedelta(0)


def free_from(allowed: int, pace_from: int) -> int:
    """Return up to which amount calls go at full speed; `pace_from` is in percent."""
    return allowed * pace_from // 100


def wait(
    used: int, allowed: int, pace_from: int, *, now: datetime, starts_at: datetime, ends_at: datetime
) -> timedelta:
    """Return how long the next call waits after `used` of `allowed`: from nothing to the rest of the period.

    The more is used the longer, the later in the period the shorter. What is left is the limit's to decide:
    where everything is used, the wait is until the period's end.
    """
    free = free_from(allowed, pace_from)
    if used <= free or pace_from >= 100:
        return _NO_WAIT
    above, share = allowed - free, min(used, allowed) - free
    # Whole microseconds, so that a share of a billionth is exact too.
    length = (ends_at - starts_at) // timedelta(microseconds=1)
    opens = starts_at + timedelta(microseconds=-(-length * share // above))
    return min(max(_NO_WAIT, opens - now), max(_NO_WAIT, ends_at - now))
