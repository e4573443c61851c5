"""A PostgreSQL connection of the event loop's own: all statements of a step travel in one round trip.

Each time a process waits for the database and is woken again costs a tenth of a millisecond, more than
the statement itself. libpq's pipeline mode lets a step cost one wait, begin and commit included, and
without a thread beside the loop nobody competes for the interpreter.
"""

import asyncio
import itertools
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from django.db.utils import ConnectionHandler
from psycopg import errors, pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.types.datetime import TimestamptzLoader

from digitalme.statements import Last, Statement, Steps

Result = TypeVar("Result")
_BEGIN: Statement[None] = Statement("BEGIN")
_RELAX: Statement[None] = Statement("SET LOCAL synchronous_commit TO OFF")
_COMMIT: Statement[None] = Statement("COMMIT")
_ROLLBACK: Statement[None] = Statement("ROLLBACK")
# Connecting is the one thing here that waits in a thread; its pool starts none before it is asked to.
_CONNECTING = ThreadPoolExecutor(max_workers=4, thread_name_prefix="connecting")
_BAD = {pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE}


class Pipeline:
    """One connection, one transaction at a time; it connects when it is needed and after it broke."""

    def __init__(self, connections: ConnectionHandler = connections) -> None:
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._link: _Link | None = None

    async def run(self, steps: Steps[Result], *, durable: bool = True) -> Result:
        """Carry out the steps as one transaction.

        Unless `durable`, its commit does not wait for the disk: if the database server crashes, the last
        such ones may be undone as a whole. Raises Django's DatabaseError, and what the steps raise; then
        nothing of it was done.
        """
        if self._link is None or not self._link.alive:
            self._link = _Link(self._loop, await _connected(self._connections))
        link, opening = self._link, [_BEGIN] if durable else [_BEGIN, _RELAX]
        try:
            wanted = next(steps)
            while True:
                closing = [_COMMIT] if isinstance(wanted, Last) else []
                results = await link.exchange([*opening, *wanted, *closing])
                wanted = steps.send(results[len(opening) : len(opening) + len(wanted)])
                opening = []
        except StopIteration as end:
            if link.in_transaction:
                await link.exchange([_COMMIT])
            result: Result = end.value
            return result
        except asyncio.CancelledError:
            link.close()
            raise
        except BaseException:
            if link.in_transaction:
                await link.exchange([_ROLLBACK])
            raise

    def close(self) -> None:
        """Close the connection."""
        if self._link is not None:
            self._link.close()


@lru_cache(maxsize=1024)
def _numbered(text: str) -> bytes:
    """Return a statement with its places numbered, as the server wants them."""
    pieces = text.split("%s")
    return "".join(f"{piece}${place}" for place, piece in enumerate(pieces[:-1], 1)).encode() + pieces[-1].encode()


async def _connected(connections: ConnectionHandler) -> Any:
    """Open a connection beside the loop. If the caller leaves meanwhile, it is closed as soon as it is there."""
    opening = _CONNECTING.submit(_connection, connections)
    try:
        return await asyncio.wrap_future(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_discard)
        raise


def _discard(opening: Future[Any]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().connection.close()


def _connection(connections: ConnectionHandler) -> Any:
    """Open a connection as the settings say, with Django's own types and time zone."""
    database = connections.create_connection(DEFAULT_DB_ALIAS)
    database.ensure_connection()
    connection = database.connection
    # The driver's own reading of times is compiled, Django's is not; both give UTC.
    connection.adapters.register_loader("timestamptz", TimestamptzLoader)
    try:
        # These statements find their rows by index however many values they are given.
        connection.execute("SET plan_cache_mode TO force_generic_plan")
    except errors.Error:
        connection.close()
        raise
    return database


# What a plan depends on: the text and the types of its values.
_Plan = tuple[str, tuple[int, ...]]


class _Link:
    """The connection while it lives: what was sent, what has come back."""

    def __init__(self, loop: asyncio.AbstractEventLoop, database: Any) -> None:
        self._loop, self._database = loop, database
        self._pg = database.connection.pgconn
        self._types = Transformer(database.connection)
        self._keeps_plans = database.connection.prepare_threshold is not None
        self._plans: dict[_Plan, bytes] = {}
        self._names = itertools.count()
        self._results: list[Any] = []
        self._done: asyncio.Future[None] | None = None
        self.alive = True
        self._socket = self._pg.socket
        self._pg.nonblocking = 1
        self._pg.enter_pipeline_mode()
        loop.add_reader(self._socket, self._read)

    @property
    def in_transaction(self) -> bool:
        """Tell whether a transaction is open, sound or failed."""
        return self.alive and self._pg.transaction_status != pq.TransactionStatus.IDLE

    async def exchange(self, statements: Sequence[Statement[Any]]) -> list[Any]:
        """Send all statements, wait once, and return what each was read as."""
        self._results = []
        done = self._done = self._loop.create_future()
        try:
            with self._database.wrap_database_errors:
                fresh = [self._send(statement) for statement in statements]
                self._pg.pipeline_sync()
                self._flush()
        except BaseException:
            self.close()
            raise
        await done
        return self._answers(statements, fresh)

    def close(self) -> None:
        """Let go of the connection; whoever waits for it is told."""
        if not self.alive:
            return
        self.alive = False
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._database.connection.close()
        done, self._done = self._done, None
        if done is not None and not done.done():
            done.set_exception(OperationalError("The connection to the database is gone."))

    def _send(self, statement: Statement[Any]) -> _Plan | None:
        """Put a statement into the pipeline; return its plan if that is asked for too."""
        types = self._types
        values = types.dump_sequence(statement.values, [PyFormat.AUTO] * len(statement.values))
        kinds = tuple(types.types or ())
        if not self._keeps_plans:
            self._pg.send_query_params(_numbered(statement.text), values, kinds, types.formats)
            return None
        plan = statement.text, kinds
        name = self._plans.get(plan)
        if fresh := name is None:
            name = self._plans[plan] = b"p%d" % next(self._names)
            self._pg.send_prepare(name, _numbered(statement.text), kinds)
        self._pg.send_query_prepared(name, values, types.formats)
        return plan if fresh else None

    def _flush(self) -> None:
        """Hand what is to be sent to the system; what it does not take now follows when it can."""
        try:
            left = self._pg.flush()
        except errors.Error:
            self.close()
            return
        if left:
            self._loop.add_writer(self._socket, self._flush)
        else:
            self._loop.remove_writer(self._socket)

    def _read(self) -> None:
        """Take what has come. A step ends where the server says that it is in step again."""
        try:
            self._pg.consume_input()
            while self._done is not None and not self._pg.is_busy():
                result = self._pg.get_result()
                if result is None:  # the end of one statement's results; twice, of what is there
                    if self._results and self._results[-1] is None:
                        return
                    self._results.append(None)
                elif result.status == pq.ExecStatus.PIPELINE_SYNC:
                    done, self._done = self._done, None
                    if not done.done():
                        done.set_result(None)
                else:
                    self._results.append(result)
        except errors.Error:
            self.close()

    def _answers(self, statements: Sequence[Statement[Any]], fresh: Sequence[_Plan | None]) -> list[Any]:
        results = iter([result for result in self._results if result is not None])
        answers = []
        for statement, plan in zip(statements, fresh, strict=True):
            for result in itertools.islice(results, 2 if plan else 1):
                if result.status in _BAD:
                    self._forget(fresh)
                    with self._database.wrap_database_errors:
                        raise errors.error_from_result(result, encoding="utf-8")
            answers.append(statement.read(self._rows(result)))
        return answers

    def _forget(self, fresh: Sequence[_Plan | None]) -> None:
        """A step failed: which of the plans that it asked for are there is not known."""
        for plan in fresh:
            if plan:
                self._plans.pop(plan, None)

    def _rows(self, result: Any) -> Sequence[tuple[Any, ...]]:
        if result.status != pq.ExecStatus.TUPLES_OK:
            return ()
        self._types.set_pgresult(result)
        rows: list[tuple[Any, ...]] = self._types.load_rows(0, result.ntuples, tuple)
        return rows
