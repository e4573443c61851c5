"""What a gateway process keeps while it runs: the ledger's thread, the upstream client, its running calls."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from django.db import DatabaseError, transaction

from apikeys.heartbeat import Heartbeat
from digitalme.errors import ProviderUnavailable
from digitalme.gateway import admission, revocation, settlement
from digitalme.gateway.admission import Admitted, Call
from digitalme.gateway.batching import Batcher, Queue
from digitalme.gateway.relay import Progress
from digitalme.gateway.revocation import Facts, Question, Watch
from digitalme.gateway.settlement import Outcome
from providers import pricing, registry
from providers.outbound import Relay
from quotas import ledger

log = logging.getLogger(__name__)
LAST_SECONDS = 5
# The ledger's thread waits for the interpreter after every answer of the database. At the default of
# 5 ms a busy loop would make each of its batches take ten times as long.
SWITCH_SECONDS = 0.0002


class Runtime:
    """Start with `await Runtime.start()`; `stop` settles what is handed in until then."""

    def __init__(self, upstream: Relay, heartbeat: Heartbeat) -> None:
        self.upstream = upstream
        self._heartbeat = heartbeat
        self._running: dict[UUID, Progress] = {}
        self._idle = asyncio.Event()
        self._admissions: Queue[Call, Admitted] = Queue(admission.admit, self._give_back)  # type: ignore[arg-type]
        self._settlements: Queue[Outcome, None] = Queue(settlement.settle)
        self._renewals: Queue[tuple[UUID, ...], int] = Queue(_renew)
        self._checks: Queue[Question, Facts] = Queue(revocation.look_up)
        self._catalogue: Queue[None, None] = Queue(_look_for_providers)
        # Settlements come first: they give back what the admissions behind them may need.
        self._batcher = Batcher(self._settlements, self._renewals, self._checks, self._catalogue, self._admissions)
        watch = Watch(self._running, lambda asked: self._batcher.submit(self._checks, asked))
        self._chores = tuple(
            asyncio.create_task(chore) for chore in (self._renew_for_ever(), watch.run(), self._look_for_providers())
        )

    @classmethod
    async def start(cls) -> "Runtime":
        """Check the key ring and open everything. Raises what makes serving impossible."""
        heartbeat = await asyncio.to_thread(Heartbeat("web").start)
        sys.setswitchinterval(SWITCH_SECONDS)
        pricing.warm()
        upstream = Relay()
        await upstream.start()
        return cls(upstream, heartbeat)

    async def admit(self, call: Call) -> Admitted:
        """Admit a call, together with what else waits.

        Raises the DigitalMeError that refuses it. Without the database no call starts: what cannot be
        booked must not be spent.
        """
        try:
            return await self._batcher.submit(self._admissions, call)
        except DatabaseError:
            raise ProviderUnavailable("The limits cannot be checked right now, so no call may start.") from None

    def _give_back(self, admitted: Admitted) -> None:
        """The caller is gone before its call began: release the hold that was booked meanwhile."""
        self.settle(Outcome(admitted, "aborted", reached=False, error_type="shutdown"))

    def begin(self, progress: Progress) -> None:
        """Note that a call runs: until `settle` its lease is kept alive, and it ends if it is revoked."""
        self._running[progress.admitted.hold.request_id] = progress
        self._idle.clear()

    def settle(self, outcome: Outcome) -> None:
        """Hand in how a call ended. Does not wait, so it may stand in a `finally`."""
        self._running.pop(outcome.admitted.hold.request_id, None)
        self._batcher.post(self._settlements, outcome)
        if not self._running:
            self._idle.set()

    async def stop(self) -> None:
        """Settle what is handed in, then close.

        A server cancels what still runs and goes on at once; so wait for those calls to hand in how
        they ended.
        """
        if self._running:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), LAST_SECONDS)
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        await asyncio.to_thread(self._batcher.close)
        await asyncio.to_thread(self._heartbeat.stop)
        await self.upstream.close()

    async def _renew_for_ever(self) -> None:
        """Keep the leases of running calls alive; those of a killed process run out within two minutes."""
        while True:
            await asyncio.sleep(ledger.RENEW_SECONDS)
            if self._running:
                self._batcher.post(self._renewals, tuple(self._running))

    async def _look_for_providers(self) -> None:
        """See providers that are installed or switched off meanwhile: the loop itself asks no database."""
        while True:
            await self._batcher.submit(self._catalogue, None)
            await asyncio.sleep(registry.CHECK_SECONDS)


def _look_for_providers(asked: Sequence[None]) -> list[None]:
    try:
        registry.refresh()
    except Exception:
        log.exception("providers not looked for")  # the next look may do better; calls go on with what is known
    return [None] * len(asked)


def _renew(batches: Sequence[tuple[UUID, ...]]) -> list[int]:
    now = datetime.now(UTC)
    renewed = []
    for request_ids in batches:
        with transaction.atomic():
            renewed.append(ledger.renew(request_ids, now=now))
    return renewed
