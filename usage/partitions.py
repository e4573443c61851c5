"""The months that PostgreSQL keeps records in; on SQLite there is one table.

A record lies in the month in which its request id was made, for ids tell their time (RFC 9562, version 7). So the id
alone stays what is unique, and finds its month. An id for which there is no month lies in the rest; nothing is ever
refused for want of a month.
"""

import logging
import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self
from uuid import UUID

from django.db import OperationalError, transaction

from digitalme.database import as_time, as_uuid, on_sqlite
from usage.sums import execute, fetch

log = logging.getLogger(__name__)
TABLE = "usage_usagerecord"
REST = f"{TABLE}_rest"
MONTHS_AHEAD = 3
# Callers wait behind whoever waits for a table.
PATIENCE = "SET LOCAL lock_timeout TO '2s'"
_WHOLE = f"{TABLE}_whole"
# Calls of longer ago stay in the rest when the table is divided.
_LOOKED_BACK = timedelta(days=3 * 366)
_NAME = re.compile(rf"^{TABLE}_(\d{{4}})_(\d\d)$")


class Month(NamedTuple):
    """A month in UTC."""

    year: int
    number: int

    @classmethod
    def of(cls, moment: datetime) -> Self:
        """Return the month of this moment."""
        moment = moment.astimezone(UTC)
        return cls(moment.year, moment.month)

    @property
    def start(self) -> datetime:
        """Its first moment."""
        return datetime(self.year, self.number, 1, tzinfo=UTC)

    @property
    def next(self) -> "Month":
        """The month after it."""
        return Month(self.year + self.number // 12, self.number % 12 + 1)

    @property
    def end(self) -> datetime:
        """The first moment after it."""
        return self.next.start

    @property
    def table(self) -> str:
        """What its table is called."""
        return f"{TABLE}_{self.year:04d}_{self.number:02d}"

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.number:02d}"


def first_id(moment: datetime) -> UUID:
    """Return an id that no id made before the moment is greater than, and none made since is smaller than."""
    return UUID(int=round(moment.timestamp() * 1000) << 80)


def there() -> list[Month]:
    """Return the months that have a table, the earliest first; none on SQLite."""
    if on_sqlite():
        return []
    rows = fetch(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass(%s)",
        [TABLE],
    )
    found = [_NAME.match(name) for (name,) in rows]
    return sorted(Month(int(one[1]), int(one[2])) for one in found if one)


def make_ahead(*, now: datetime) -> list[Month]:
    """Make the tables of this month and of MONTHS_AHEAD more, where they are missing; return those made. Safe to run
    twice, and at once."""
    if on_sqlite():
        return []
    made, month, known = [], Month.of(now), there()
    for _ in range(1 + MONTHS_AHEAD):
        if month not in known and _make_patiently(month):
            made.append(month)
        month = month.next
    return made


def _make_patiently(month: Month) -> bool:
    try:
        with transaction.atomic():
            execute(PATIENCE, [])
            return make(month)
    except OperationalError as problem:
        # Calls go to the rest meanwhile, and are fetched from there.
        log.warning("The table for the calls of %s could not be made now: %s", month, type(problem).__name__)
        return False


def make(month: Month) -> bool:
    """Make a month's table, and put into it what lies in the rest, in the caller's transaction. Return False if it was
    there."""
    # No other such attempt runs beside this one; calls do, until those that lie in the rest are looked through.
    execute(f"LOCK TABLE ONLY {TABLE} IN SHARE UPDATE EXCLUSIVE MODE", [])
    if month in there():
        return False
    bounds = [first_id(month.start), first_id(month.end)]
    execute(f"CREATE TABLE {month.table} (LIKE {TABLE} INCLUDING ALL)", [])
    execute(f"LOCK TABLE {REST} IN ACCESS EXCLUSIVE MODE", [])
    execute(
        f"WITH moved AS (DELETE FROM {REST} WHERE request_id >= %s AND request_id < %s RETURNING *)"  # noqa: S608
        f" INSERT INTO {month.table} SELECT * FROM moved",
        bounds,
    )
    begin, end = bounds
    execute(f"ALTER TABLE {TABLE} ATTACH PARTITION {month.table} FOR VALUES FROM ('{begin}') TO ('{end}')", [])
    return True


def count(month: Month) -> int:
    """Return how many calls a month has."""
    return int(fetch(f"SELECT COUNT(*) FROM {month.table}", [])[0][0])  # noqa: S608


def last(month: Month) -> datetime | None:
    """Return when the last call of a month began; None if it has none."""
    return as_time(fetch(f"SELECT MAX(timestamp) FROM {month.table}", [])[0][0])  # noqa: S608


def hold(month: Month) -> None:
    """Let nobody near the records until the caller's transaction ends. Raises OperationalError if somebody is at them
    for too long."""
    execute(PATIENCE, [])
    execute(f"LOCK TABLE ONLY {TABLE} IN ACCESS EXCLUSIVE MODE", [])
    execute(f"LOCK TABLE {month.table} IN ACCESS EXCLUSIVE MODE", [])


def drop(month: Month) -> None:
    """Drop a month with all its calls."""
    execute(f"DROP TABLE {month.table}", [])


def oldest_outside(before: datetime, most: int) -> list[UUID]:
    """Return the ids of the oldest calls that began before this and lie in no month: of any calls, on SQLite."""
    table = TABLE if on_sqlite() else REST
    rows = fetch(
        f"SELECT request_id FROM {table} WHERE timestamp < %s ORDER BY timestamp, request_id LIMIT %s",  # noqa: S608
        [before, most],
    )
    return [found for (one,) in rows if (found := as_uuid(one))]


def divide(*, now: datetime) -> None:
    """Put months in the place of the one table that a migration made, and into them all that it holds."""
    if on_sqlite():
        return
    execute(f"ALTER TABLE {TABLE} RENAME TO {_WHOLE}", [])
    execute(
        f"CREATE TABLE {TABLE} (LIKE {_WHOLE} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
        " PARTITION BY RANGE (request_id)",
        [],
    )
    execute(f"CREATE TABLE {REST} PARTITION OF {TABLE} DEFAULT", [])
    first = as_time(fetch(f"SELECT MIN(timestamp) FROM {_WHOLE}", [])[0][0]) or now  # noqa: S608
    month, ahead = Month.of(max(first, now - _LOOKED_BACK)), Month.of(now)
    for _ in range(MONTHS_AHEAD):
        ahead = ahead.next
    while month <= ahead:
        make(month)
        month = month.next
    execute(f"INSERT INTO {TABLE} SELECT * FROM {_WHOLE}", [])  # noqa: S608
    execute(f"DROP TABLE {_WHOLE}", [])
    execute(f"ALTER TABLE {TABLE} ADD PRIMARY KEY (request_id)", [])
    execute(f"CREATE INDEX record_of_user ON {TABLE} (user_id, timestamp DESC)", [])
    execute(f"CREATE INDEX record_by_time ON {TABLE} (timestamp)", [])
    execute(f"ANALYZE {TABLE}", [])
