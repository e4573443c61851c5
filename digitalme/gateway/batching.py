"""One transaction for the operations that wait together.

What arrives while a batch is in flight forms the next one, so a lone operation starts at once and a
crowd shares its transaction. An operation whose result nobody waits for has patience: it travels with
the next that somebody waits for, or alone when its patience ends.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

log = logging.getLogger(__name__)

Item = TypeVar("Item")
MAX_BATCH = 256
PATIENCE_SECONDS = 0.02


class Batcher(Generic[Item]):
    """Carries out operations batch by batch. `run` carries out several in one transaction and returns
    their results; `orphan` is called with a result whose future was cancelled meanwhile."""

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Awaitable[Sequence[Any]]],
        orphan: Callable[[Any], None] | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._run, self._orphan, self._patience = run, orphan, patience
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[Item, asyncio.Future[Any] | None]] = []
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._task = asyncio.create_task(self._work())

    def submit(self, item: Item) -> "asyncio.Future[Any]":
        """Queue an operation and return the future of its result."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((item, future))
        self._wake.set()
        return future

    def post(self, item: Item) -> None:
        """Queue an operation whose result nobody waits for. Never waits, so it may stand in a `finally`."""
        self._waiting.append((item, None))
        if self._closing:
            self._wake.set()
        elif self._timer is None:
            self._timer = self._loop.call_later(self._patience, self._wake.set)

    async def close(self) -> None:
        """Carry out what still waits, then end."""
        self._closing = True
        self._wake.set()
        await self._task

    async def _work(self) -> None:
        while self._waiting or not self._closing:
            await self._wake.wait()
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            if not self._waiting and not self._closing:
                self._rest()
            if batch:
                self._deliver(batch, await self._carry_out([item for item, _ in batch]))

    def _rest(self) -> None:
        """Nothing is left: sleep until there is more."""
        self._wake.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _carry_out(self, items: list[Item]) -> list[Any]:
        """Run the batch; if it fails, run its operations one by one, so that a bad one fails alone."""
        try:
            return list(await self._run(items))
        except Exception as problem:
            _report(problem, len(items))
        results: list[Any] = []
        for item in items:
            try:
                results += await self._run([item])
            except Exception as problem:
                _report(problem, 1)
                results.append(problem)
        return results

    def _deliver(self, batch: Sequence[tuple[Item, "asyncio.Future[Any] | None"]], results: Sequence[Any]) -> None:
        for (_, future), result in zip(batch, results, strict=True):
            if future is None:
                continue
            if future.cancelled():
                if self._orphan is not None and not isinstance(result, Exception):
                    self._orphan(result)
            elif isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)


def _report(problem: Exception, size: int) -> None:
    # The type says enough: a database's message may carry parameters.
    log.warning("batch failed size=%d error=%s", size, type(problem).__name__, exc_info=log.isEnabledFor(logging.DEBUG))
