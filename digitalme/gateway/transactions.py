"""How a gateway process gets at its database: over a pipeline on PostgreSQL, in one thread on SQLite."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connection, transaction

from digitalme.database import on_sqlite
from digitalme.pipeline import Pipeline
from digitalme.statements import Steps, carry_out

Result = TypeVar("Result")


class Transactions:
    """Carries out transactions, one at a time, without holding up the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pipeline = None if on_sqlite() else Pipeline()
        # One thread, so one connection: whatever is not worth a pipeline, and all of it on SQLite.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")

    async def run(self, steps: Steps[Result], *, durable: bool = True) -> Result:
        """Carry out the steps as one transaction; `durable` and errors as digitalme.pipeline says."""
        if self._pipeline is not None:
            return await self._pipeline.run(steps, durable=durable)
        return await self.call(lambda: _in_transaction(steps))

    async def call(self, function: Callable[[], Result]) -> Result:
        """Run a function that speaks to the database by itself."""
        return await self._loop.run_in_executor(self._thread, _tidily(function))

    async def close(self) -> None:
        """Close the connections."""
        if self._pipeline is not None:
            self._pipeline.close()
        await self.call(lambda: connection.close())  # this thread's, not the caller's
        self._thread.shutdown(wait=False)


def _in_transaction(steps: Steps[Result]) -> Result:
    with transaction.atomic():
        return carry_out(steps)


def _tidily(function: Callable[[], Result]) -> Callable[[], Result]:
    """After an error, look whether the connection is still good."""

    def run() -> Result:
        try:
            return function()
        except Exception:
            connection.close_if_unusable_or_obsolete()
            raise

    return run
