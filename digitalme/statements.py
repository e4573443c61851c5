"""Transactions as plain data: what is asked of the database, apart from how it travels there.

A transaction is a generator that yields the statements of one step and is sent their results. Whoever
carries it out chooses the road: one statement after the other over Django's connection, or all of a
step's in one round trip (digitalme.pipeline).
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import orjson

from digitalme.database import flatten, on_sqlite, parameters, prepared_cursor, rows_of_placeholders

Read = TypeVar("Read")
Result = TypeVar("Result")
Rows = Sequence[tuple[Any, ...]]


def _nothing(rows: Rows) -> Any:
    return None


class Statement(NamedTuple, Generic[Read]):
    """SQL with %s for its values, and what its rows are read as.

    The text must be the same however many values it is given, so that the server can keep its plan.
    """

    text: str
    values: Sequence[Any] = ()
    read: Callable[[Rows], Read] = _nothing


class Last(tuple[Statement[Any], ...]):
    """The last step of a transaction: it is committed in the same breath. Nothing may be yielded after it."""

    __slots__ = ()


Steps = Generator[Sequence[Statement[Any]], list[Any], Result]


def send(statements: Sequence[Statement[Any]]) -> list[Any]:
    """Run statements one by one in the caller's transaction and return what each was read as."""
    results = []
    with prepared_cursor() as cursor:
        for statement in statements:
            cursor.execute(statement.text, statement.values)
            results.append(statement.read(cursor.fetchall() if cursor.description else ()))
    return results


def ask(statement: Statement[Read]) -> Read:
    """Run one statement and return what it is read as."""
    found: Read = send([statement])[0]
    return found


def carry_out(steps: Steps[Result]) -> Result:
    """Run all steps in the caller's transaction and return what they come to."""
    try:
        wanted = next(steps)
        while True:
            wanted = steps.send(send(wanted))
    except StopIteration as end:
        result: Result = end.value
        return result


def insert(
    table: str, columns: Mapping[str, str], rows: Sequence[Sequence[Any]], *, conflict: str = ""
) -> Statement[None]:
    """Return the statement that inserts these rows. `columns` gives each name's type on PostgreSQL; the
    values of a jsonb column are JSON text.

    PostgreSQL's driver spends longer on finding hundreds of placeholders than the server on the whole
    statement, so there all rows travel as one JSON document.
    """
    names = ", ".join(columns)
    if on_sqlite():
        values = f"VALUES {rows_of_placeholders(len(rows), len(columns))}"
        return Statement(f"INSERT INTO {table} ({names}) {values} {conflict}", parameters(flatten(rows)))
    picked = ", ".join(f"{name}::jsonb" if kind == "jsonb" else name for name, kind in columns.items())
    typed = ", ".join(f"{name} {'text' if kind == 'jsonb' else kind}" for name, kind in columns.items())
    document = orjson.dumps([dict(zip(columns, row, strict=True)) for row in rows], default=str).decode()
    return Statement(
        f"INSERT INTO {table} ({names}) SELECT {picked} FROM json_to_recordset(%s::json) AS given({typed})"  # noqa: S608
        f" {conflict}",
        [document],
    )
