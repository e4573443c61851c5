"""Whether somebody's calls changed since a page was filled, for next to nothing."""

from datetime import datetime
from uuid import UUID

from digitalme.statements import Rows, Statement
from usage.rollups import HOUR, hour_of
from usage.sums import plain

# The newest calls stand for all. Whatever comes among them, however late, pushes the oldest of them out.
NEWEST = 500
_NEWEST = (
    "SELECT COUNT(*), MIN(timestamp), MAX(timestamp), SUM(cost), SUM(input_tokens + output_tokens) FROM"
    " (SELECT timestamp, cost, input_tokens, output_tokens FROM usage_usagerecord"
    " WHERE user_id = %s AND timestamp >= %s ORDER BY timestamp DESC LIMIT %s) newest"
)


def pulse(user_id: UUID, now: datetime) -> Statement[Rows]:
    """Ask for what changes with each call of this or the last hour, and once an hour by itself: one row, which an index
    answers."""
    return Statement(_NEWEST, plain([user_id, hour_of(now) - HOUR, NEWEST]), tuple)
