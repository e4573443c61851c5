"""Add to the counters of rows, in hand-written SQL."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from digitalme.database import array, flatten, on_sqlite, parameters, rows_of_placeholders
from digitalme.statements import Statement
from quotas.decision import Amounts

_NOTHING = Amounts()


def add(changes: Mapping[UUID, Amounts], *, lock: bool) -> list[Statement[Any]]:
    """Add to the counters of rows, in one statement; lock them by id first unless they are locked already."""
    rows = [(one, total.requests, total.tokens, total.cost) for one, total in changes.items() if total != _NOTHING]
    if not rows:
        return []
    if on_sqlite():
        values = f"VALUES {rows_of_placeholders(len(rows), 4)}"
        return [Statement(_RAISE.format(given=f"({values}) AS given"), parameters(flatten(rows)))]
    # A single row needs no order: its update locks it.
    statement = _LOCK_AND_RAISE if lock and len(rows) > 1 else _RAISE_LOCKED
    return [Statement(statement, [array(column) for column in zip(*rows, strict=True)])]


# `given` has four columns: id, requests, tokens, cost. SQLite names them itself.
_RAISE = (
    "UPDATE quotas_allocation SET used_requests = used_requests + given.column2,"
    " used_tokens = used_tokens + given.column3, used_cost = used_cost + given.column4"
    " FROM {given} WHERE quotas_allocation.id = given.column1"
)
_GIVEN = "unnest(%s::uuid[], %s::bigint[], %s::bigint[], %s::bigint[]) AS given(column1, column2, column3, column4)"
_RAISE_LOCKED = _RAISE.format(given=_GIVEN)
_LOCK_AND_RAISE = (
    f"WITH given AS (SELECT * FROM {_GIVEN}), locked AS (SELECT id FROM quotas_allocation"  # noqa: S608
    " WHERE id IN (SELECT column1 FROM given) ORDER BY id FOR UPDATE) "
    + _RAISE.format(given="given, locked")
    + " AND quotas_allocation.id = locked.id"
)
