"""What the tables share: exact money, time-ordered ids, parameters for hand-written SQL."""

import os
import time
import uuid
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache
from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS, connection, connections, models

NANO = Decimal("0.000000001")
_PER_DOLLAR = 1_000_000_000


def to_nano(amount: Decimal) -> int:
    """Return US dollars as whole billionths, rounded half to even."""
    return int((amount * _PER_DOLLAR).to_integral_value(rounding=ROUND_HALF_EVEN))


def from_nano(nano: int) -> Decimal:
    """Return whole billionths of a US dollar as a Decimal with nine decimals."""
    return (Decimal(nano) / _PER_DOLLAR).quantize(NANO)


class MoneyField(models.DecimalField[Any, Any]):
    """US dollars with nine decimals, stored as whole billionths.

    SQLite keeps decimals as floating point, so sums drift there; an integer column is exact on
    every database and adds at the speed of integers in the ledger.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["max_digits"], kwargs["decimal_places"] = 18, 9
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        kwargs.pop("max_digits", None)
        kwargs.pop("decimal_places", None)
        return name, path, args, kwargs

    def get_internal_type(self) -> str:
        return "BigIntegerField"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Decimal | None:
        return None if value is None else from_nano(int(value))

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> int | None:
        amount = value if prepared else self.get_prep_value(value)
        return None if amount is None else to_nano(amount)

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        if hasattr(value, "as_sql"):
            return value
        return self.get_db_prep_value(value, connection)


def uuid7(milliseconds: int | None = None) -> uuid.UUID:
    """Return a time-ordered random id (RFC 9562, version 7): new rows land at the index's end."""
    stamp = time.time_ns() // 1_000_000 if milliseconds is None else milliseconds
    value = (stamp & 0xFFFFFFFFFFFF) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return uuid.UUID(int=value)


@cache
def on_sqlite() -> bool:
    """Tell which of the two databases this process works with."""
    return connection.vendor == "sqlite"


def parameters(values: Iterable[Any]) -> list[Any]:
    """Return values as this database's driver takes them in hand-written SQL.

    SQLite keeps ids as 32 hex digits and times as naive UTC text, as Django's own fields do.
    """
    if not on_sqlite():
        return list(values)
    return [_for_sqlite(value) for value in values]


def _for_sqlite(value: Any) -> Any:
    if isinstance(value, uuid.UUID):
        return value.hex
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")
    return value


def as_uuid(value: Any) -> uuid.UUID | None:
    """Return an id read by hand-written SQL as a UUID."""
    return value if value is None or isinstance(value, uuid.UUID) else uuid.UUID(value)


def as_time(value: Any) -> datetime | None:
    """Return a time read by hand-written SQL as an aware datetime in UTC."""
    if value is None:
        return None
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def prepared_cursor() -> Any:
    """Return a cursor for statements that every call needs.

    On PostgreSQL the server keeps their plans, if the settings let it, for as long as the connection
    lives. So the text of such a statement must be the same however many values it is given.
    """
    database = connections[DEFAULT_DB_ALIAS]  # each use of `connection` would look it up anew
    if on_sqlite() or database.queries_logged:  # Django's own cursor writes the values into the text, for people
        return database.cursor()
    database.ensure_connection()
    with database.wrap_database_errors:
        cursor: Any = psycopg.Cursor(database.connection)
        return database.make_cursor(cursor)


def among(values: Collection[Any]) -> tuple[str, list[Any]]:
    """Return what follows a column to mean 'is one of these', and its parameters.

    On PostgreSQL that is one array, so that the text does not tell how many there are; it travels as text,
    which the driver need not look through. The values are ids, slugs or digests.
    """
    if on_sqlite():
        return f"IN ({placeholders(len(values))})", parameters(values)
    return "= ANY(%s)", [array(values)]


def array(values: Iterable[Any]) -> str:
    """Return ids, numbers or words as a PostgreSQL array in its text form."""
    return "{" + ",".join(['"' + str(value).translate(_ESCAPED) + '"' for value in values]) + "}"


_ESCAPED = str.maketrans({'"': r"\"", "\\": r"\\"})


def placeholders(count: int) -> str:
    """Return '%s, %s, ...' for an IN list; an empty one matches nothing."""
    return ", ".join(["%s"] * count) if count else "NULL"


def rows_of_placeholders(rows: int, columns: int) -> str:
    """Return '(%s, ...), (%s, ...)' for an INSERT of several rows."""
    return ", ".join([f"({placeholders(columns)})"] * rows)


def flatten(rows: Sequence[Sequence[Any]]) -> list[Any]:
    """Return the values of several rows as one list of parameters."""
    return [value for row in rows for value in row]
