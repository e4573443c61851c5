"""One transaction for the operations that wait together; never a timer.

What arrives while a batch is in flight forms the next one, so a lone operation starts at once and a
crowd shares its transaction. One thread with one database connection serves them all.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from django.db import connection

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")
MAX_BATCH = 256


@dataclass(slots=True)
class Queue(Generic[Item, Result]):
    """Operations of one kind and the function that carries out several of them in one transaction."""

    run: Callable[[Sequence[Item]], Sequence[Result]]
    # Called, in the loop, with a result whose future was cancelled meanwhile.
    orphan: Callable[[Result], None] | None = None
    waiting: list[tuple[Item, "asyncio.Future[Result] | None"]] = field(default_factory=list)

    def take(self) -> list[tuple[Item, "asyncio.Future[Result] | None"]]:
        """Take what waits, up to MAX_BATCH; the rest forms the next batch."""
        taken, self.waiting = self.waiting[:MAX_BATCH], self.waiting[MAX_BATCH:]
        return taken


class Batcher:
    """The thread that carries out all queues' operations, in the order in which the queues are given."""

    def __init__(self, *queues: Queue[Any, Any], name: str = "ledger") -> None:
        self._queues = queues
        self._wake = threading.Condition()
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, queue: Queue[Item, Result], item: Item) -> "asyncio.Future[Result]":
        """Queue an operation and return the future of its result."""
        future: asyncio.Future[Result] = self._loop.create_future()
        self._put(queue, item, future)
        return future

    def post(self, queue: Queue[Item, Any], item: Item) -> None:
        """Queue an operation whose result nobody waits for. Never blocks, so it may stand in a `finally`."""
        self._put(queue, item, None)

    def close(self) -> None:
        """Carry out what still waits, then end the thread. Blocks."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _put(self, queue: Queue[Item, Any], item: Item, future: "asyncio.Future[Any] | None") -> None:
        with self._wake:
            queue.waiting.append((item, future))
            self._wake.notify()

    def _work(self) -> None:
        while batches := self._next():
            for queue, batch in batches:
                self._deliver(queue, batch, _carry_out(queue.run, [item for item, _ in batch]))
        connection.close()

    def _next(self) -> list[tuple[Queue[Any, Any], list[tuple[Any, Any]]]]:
        """Wait for work; an empty list means that there will be no more."""
        with self._wake:
            while not (self._closing or any(queue.waiting for queue in self._queues)):
                self._wake.wait()
            return [(queue, queue.take()) for queue in self._queues if queue.waiting]

    def _deliver(self, queue: Queue[Any, Any], batch: list[tuple[Any, Any]], results: list[Any]) -> None:
        awaited = [(future, result) for (_, future), result in zip(batch, results, strict=True) if future]
        if awaited:
            # The loop may be gone at shutdown; then nobody waits any more.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(_resolve, queue, awaited)


def _carry_out(run: Callable[[Sequence[Any]], Sequence[Any]], items: list[Any]) -> list[Any]:
    """Run the batch; if it fails, run its operations one by one, so that a bad one fails alone."""
    try:
        return list(run(items))
    except Exception as problem:
        _recover(problem, len(items))
    return [_carry_out_alone(run, item) for item in items]


def _carry_out_alone(run: Callable[[Sequence[Any]], Sequence[Any]], item: Any) -> Any:
    try:
        return run([item])[0]
    except Exception as problem:
        _recover(problem, 1)
        return problem


def _recover(problem: Exception, size: int) -> None:
    # The type says enough: a database's message may carry parameters.
    log.warning("batch failed size=%d error=%s", size, type(problem).__name__, exc_info=log.isEnabledFor(logging.DEBUG))
    connection.close_if_unusable_or_obsolete()


def _resolve(queue: Queue[Any, Any], awaited: list[tuple["asyncio.Future[Any]", Any]]) -> None:
    for future, result in awaited:
        if future.cancelled():
            if queue.orphan is not None and not isinstance(result, Exception):
                queue.orphan(result)
        elif isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
