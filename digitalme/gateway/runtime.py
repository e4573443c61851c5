"""What a gateway process keeps while it runs: the way to the ledger, the upstream client, its running calls."""

import asyncio
import contextlib
import gc
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.db import DatabaseError, transaction

from apikeys.heartbeat import Heartbeat
from digitalme.errors import ProviderUnavailable
from digitalme.gateway import booking, revocation, settlement
from digitalme.gateway.admission import Admitted, Call, Owners
from digitalme.gateway.batching import Batcher
from digitalme.gateway.progress import Progress
from digitalme.gateway.revocation import Facts, Question, Watch
from digitalme.gateway.settlement import LastUse, Outcome
from digitalme.gateway.transactions import Transactions
from digitalme.statements import ask, carry_out
from providers import pricing, registry
from providers.outbound import Relay
from quotas import emergencies, ledger
from usage.recorder import Record

log = logging.getLogger(__name__)

log = logging.getLogger(__name__)
LAST_SECONDS = 5


class Runtime:
    """Start with `await Runtime.start()`; `stop` settles what is handed in until then."""

    def __init__(self, upstream: Relay, heartbeat: Heartbeat) -> None:
        self.upstream = upstream
        self._heartbeat = heartbeat
        self._running: dict[UUID, Progress] = {}
        self._idle = asyncio.Event()
        self._transactions = Transactions()
        self._owners, self._last_use = Owners(), LastUse()
        self._ledger: Batcher[Call | Outcome] = Batcher(self._book, self._give_back)
        self._asides: set[asyncio.Task[None]] = set()
        watch = Watch(self._running, self._look_up)
        self._chores = tuple(
            asyncio.create_task(chore) for chore in (self._renew_for_ever(), watch.run(), self._look_for_providers())
        )

    @classmethod
    async def start(cls) -> "Runtime":
        """Check the key ring and open everything. Raises what makes serving impossible."""
        heartbeat = await asyncio.to_thread(Heartbeat("web").start)
        pricing.warm()
        upstream = Relay()
        await upstream.start()
        # What is there now stays: the collector need not look through it again while calls wait.
        gc.collect()
        gc.freeze()
        return cls(upstream, heartbeat)

    async def admit(self, call: Call) -> Admitted:
        """Admit a call, together with what else waits.

        Raises the DigitalMeError that refuses it. Without the database no call starts: what cannot be
        booked must not be spent.
        """
        try:
            admitted: Admitted = await self._ledger.submit(call)
            return admitted
        except DatabaseError:
            raise ProviderUnavailable("The limits cannot be checked right now, so no call may start.") from None

    def user_of(self, token_digest: str) -> str:
        """Return whose a token is, as far as this process knows it already; else an empty text."""
        return self._owners.known(token_digest)

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
        self._ledger.post(outcome)
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
        await self._ledger.close()
        await asyncio.gather(*self._asides)
        await self._transactions.close()
        await asyncio.to_thread(self._heartbeat.stop)
        await self.upstream.close()

    async def _renew_for_ever(self) -> None:
        """Keep the leases of running calls alive; those of a killed process run out within two minutes."""
        while True:
            await asyncio.sleep(ledger.RENEW_SECONDS)
            if self._running:
                self._aside(partial(_renew, tuple(self._running)))

    async def _look_up(self, asked: Question) -> Facts:
        return await self._transactions.call(partial(revocation.look_up, asked))

    async def _book(self, operations: Sequence[Call | Outcome]) -> list[Any]:
        """Settle calls that ended and admit others, all in one transaction.

        A period's row comes into being at the first call in it, outside of the transaction, so that no
        two processes wait for one another while they hold locks.
        """
        now = datetime.now(UTC)
        calls = [one for one in operations if isinstance(one, Call)]
        outcomes = [one for one in operations if isinstance(one, Outcome)]
        try:
            answers = await self._transact(calls, outcomes, now)
        except ledger.MissingPeriods as missing:
            await self._transactions.call(partial(ledger.ensure_periods, missing.wanted, now=now))
            answers = await self._transact(calls, outcomes, now)
        admitted = iter(answers)
        return [next(admitted) if isinstance(one, Call) else None for one in operations]

    async def _transact(self, calls: list[Call], outcomes: list[Outcome], now: datetime) -> booking.Answers:
        # If only settlements are lost in a crash of the database, their leases are there again and the
        # sweep settles them.
        answers, late = await self._transactions.run(
            booking.book(calls, outcomes, self._owners, now=now), durable=bool(calls)
        )
        used_tokens, used_keys = self._last_use.due(outcomes)
        told = [outcome for outcome in outcomes if outcome.bill]
        if any(call.critical for call in calls):
            self._aside(partial(_write_down, now))
        if late or used_tokens or used_keys or told:
            self._aside(partial(_follow_up, late, told, used_tokens, used_keys, now))
        return answers

    def _aside(self, work: Callable[[], None]) -> None:
        """Have work done that nobody waits for."""
        task = asyncio.create_task(self._done_aside(work))
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)

    async def _done_aside(self, work: Callable[[], None]) -> None:
        try:
            await self._transactions.call(work)
        except DatabaseError as problem:
            log.warning("work aside failed error=%s", type(problem).__name__)

    async def _look_for_providers(self) -> None:
        """See providers that are installed or switched off meanwhile: the loop itself asks no database."""
        while True:
            await self._transactions.call(_look_for_providers)
            await asyncio.sleep(registry.CHECK_SECONDS)


def _look_for_providers() -> None:
    try:
        registry.refresh()
    except Exception:
        log.exception("providers not looked for")  # the next look may do better; calls go on with what is known


def _write_down(now: datetime) -> None:
    emergencies.write_down(now=now)


def _renew(request_ids: Sequence[UUID]) -> None:
    with transaction.atomic():
        ask(ledger.renew(request_ids, now=datetime.now(UTC)))


def _follow_up(
    late: Sequence[Record],
    told: Sequence[Outcome],
    used_tokens: Collection[UUID],
    used_keys: Mapping[UUID, Admitted],
    now: datetime,
) -> None:
    """Correct what was swept although its process lived, and what a later answer told otherwise; note which tokens and
    keys were used."""
    if late:
        with transaction.atomic():
            carry_out(settlement.correct(late, now=now))
    for outcome in told:
        with transaction.atomic():
            carry_out(settlement.settle_bill(outcome, now=now))
    settlement.touch(used_tokens, used_keys, now)
