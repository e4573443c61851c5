"""Running calls end within seconds of the loss of what they were admitted on, in every process.

A call that begins is checked where it is admitted. For those that run, each gateway process asks the
database itself, so that nothing depends on a message that may be lost.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings

from apikeys import resolution
from digitalme.accounts import standing
from digitalme.accounts.standing import Standing
from digitalme.errors import DigitalMeError, KeyNotFound, ProviderUnavailable, Unauthenticated
from digitalme.gateway.admission import TOKEN_PROBLEMS, Admitted
from digitalme.gateway.progress import Progress
from digitalme.statements import ask
from quotas import ledger

log = logging.getLogger(__name__)
CHECK_SECONDS = 2
# A database that takes longer has not answered.
ANSWER_SECONDS = 5
# Without the database nothing new starts. What runs may go on for as long as its lease lives by
# itself: after that its hold is given back, and it would spend what nothing holds.
UNCHECKED_SECONDS = ledger.LEASE_SECONDS


@dataclass(frozen=True, slots=True)
class Question:
    """What the running calls rest on."""

    tokens: frozenset[UUID]
    users: frozenset[UUID]
    memberships: frozenset[standing.Membership]
    credentials: frozenset[UUID]


@dataclass(frozen=True, slots=True)
class Facts:
    """What of it still stands. `versions` has the credentials that are switched on."""

    people: Standing
    versions: Mapping[UUID, int]


Ask = Callable[[Question], Awaitable[Facts]]


def question(admitted: Sequence[Admitted]) -> Question:
    """Return what has to be known to judge these calls."""
    holds = [one.hold for one in admitted]
    return Question(
        tokens=frozenset(hold.token_id for hold in holds if hold.token_id),
        users=frozenset(hold.user_id for hold in holds),
        memberships=frozenset((hold.user_id, hold.team_id) for hold in holds if hold.team_id),
        credentials=frozenset(hold.credential_id for hold in holds if hold.credential_id),
    )


def look_up(asked: Question) -> Facts:
    """Answer from the database: one statement for people, one for keys."""
    people = ask(standing.of(asked.tokens, asked.users, asked.memberships))
    return Facts(people, ask(resolution.versions(asked.credentials)) if asked.credentials else {})


def verdict(admitted: Admitted, facts: Facts) -> DigitalMeError | None:
    """Return why this call must end, if it must. A key that was sealed anew under another master key has
    its version still, and goes on."""
    hold, people = admitted.hold, facts.people
    if hold.user_id not in people.users:
        return Unauthenticated(TOKEN_PROBLEMS["disabled"], reason="revoked")
    if hold.token_id and hold.token_id not in people.tokens:
        return Unauthenticated(TOKEN_PROBLEMS["revoked"], reason="revoked")
    if hold.team_id and (hold.user_id, hold.team_id) not in people.memberships:
        return KeyNotFound("You left the team whose key served this call, so it ends here.", reason="revoked")
    if admitted.key is None or hold.credential_id is None:
        return None
    version = facts.versions.get(hold.credential_id)
    if version is None:
        return KeyNotFound(
            f"The key that served this call was removed or switched off, so it ends here. Keys are kept at "
            f"{settings.SITE_URL}/settings/api/.",
            reason="revoked",
        )
    if version != admitted.key.version:
        return ProviderUnavailable(
            "The key that served this call was replaced, so it ends here. Make the call again.", reason="revoked"
        )
    return None


class Watch:
    """Looks after the running calls of one process; `running` is theirs by request id, kept by the runtime."""

    def __init__(
        self, running: Mapping[UUID, Progress], ask: Ask, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._running, self._ask, self._clock = running, ask, clock
        self._checked = clock()

    async def run(self) -> None:
        """Check every CHECK_SECONDS until cancelled."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await self.check()

    async def check(self) -> None:
        """End the calls that lost what they rest on. Without a running call nothing is asked."""
        calls = list(self._running.values())
        if not calls:
            return
        asked = self._clock()
        try:
            facts = await asyncio.wait_for(self._ask(question([call.admitted for call in calls])), ANSWER_SECONDS)
            self._end_revoked(calls, facts)
        except Exception as problem:
            log.warning("Running calls cannot be checked: %s", type(problem).__name__)
            self._end_unchecked(calls)
        else:
            self._checked = asked

    def _end_revoked(self, calls: Sequence[Progress], facts: Facts) -> None:
        for call in calls:
            if reason := verdict(call.admitted, facts):
                log.info("Running call revoked: %s, %s", call.admitted.hold.request_id, type(reason).__name__)
                call.revoke(reason)

    def _end_unchecked(self, calls: Sequence[Progress]) -> None:
        """End what nobody could check for too long; a call was checked when it began."""
        now = self._clock()
        for call in calls:
            if now - max(self._checked, call.started) >= UNCHECKED_SECONDS:
                call.revoke(
                    ProviderUnavailable("This call's key and limits cannot be checked any more, so it ends here.")
                )
