"""Which running calls must end, by what the database says of what they rest on (T10)."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import DatabaseError, transaction
from hypothesis import given
from hypothesis import strategies as st

from apikeys.models import Credential
from apikeys.resolution import KeySource, ResolvedKey
from digitalme.accounts import tokens
from digitalme.accounts.models import AccessToken
from digitalme.accounts.standing import Standing
from digitalme.database import uuid7
from digitalme.gateway import booking, revocation
from digitalme.gateway.admission import Admitted, Call, Owners
from digitalme.gateway.progress import Progress
from digitalme.gateway.revocation import Facts, Question, Watch
from digitalme.statements import carry_out
from providers import registry
from providers.metering import Estimate
from quotas import ledger
from quotas.ledger import Amounts, Granted, Hold
from tests.gateway.conftest import Person
from tests.gateway.test_revocation import WAYS, own_key
from tests.gateway.test_sdks import OWN_KEY

pytestmark = pytest.mark.django_db(transaction=True)


# --- The judgement by itself -----------------------------------------------------------------


def admitted(person: Person) -> Admitted:
    """A call of this person's, admitted as the gateway does it."""
    provider = registry.get("openai")
    operation = provider.match("POST", "/v1/chat/completions")
    asked = Call(uuid7(), tokens.digest(person.token), "openai", provider, operation, Estimate(1, 9, 9, "gpt-4o", True))
    now = datetime.now(UTC)
    token = AccessToken.objects.get(user=person.user).id
    ledger.ensure_periods([ledger.Caller(person.user.id, "openai", person.user.time_zone, token)], now=now)
    with transaction.atomic():
        ((found,), _) = carry_out(booking.book([asked], [], Owners(), now=now))
    assert isinstance(found, Admitted)
    return found


def facts(found: Admitted) -> Facts:
    return revocation.look_up(revocation.question([found]))


@pytest.mark.parametrize("way", WAYS)
def test_the_verdict_follows_the_database(way: str, alice: Person) -> None:
    give, take, told, _ = WAYS[way]
    give(alice)
    found = admitted(alice)
    assert revocation.verdict(found, facts(found)) is None
    take(alice)
    reason = revocation.verdict(found, facts(found))
    assert reason is not None
    assert reason.code == told


def test_what_changes_neither_key_nor_rights_ends_no_call(alice: Person) -> None:
    """A rotation of the master key seals every key anew, under the same version."""
    own_key(alice)
    found = admitted(alice)
    past = datetime.now(UTC) - timedelta(days=1)
    mine = Credential.objects.filter(user=alice.user)
    mine.update(sealed={"api_key": "AAAA"}, key_id="k2", status="invalid", expires_at=past, display_name="New")
    AccessToken.objects.filter(user=alice.user).update(expires_at=past)
    assert revocation.verdict(found, facts(found)) is None


def test_a_call_on_a_key_of_the_environment_rests_on_token_and_person_alone(alice: Person, settings: Any) -> None:
    settings.DIGITALME_SYSTEM_KEYS = {"openai": OWN_KEY}
    found = admitted(alice)
    assert not revocation.question([found]).credentials
    assert revocation.verdict(found, facts(found)) is None


@given(st.booleans(), st.booleans(), st.booleans(), st.sampled_from([None, 6, 7, 8]))
def test_a_call_goes_on_only_if_everything_it_rests_on_still_stands(
    token: bool, user: bool, member: bool, version: int | None
) -> None:
    found = _made_up(version=7)
    hold = found.hold
    people = Standing(
        tokens=frozenset({hold.token_id} if token else ()),
        users=frozenset({hold.user_id} if user else ()),
        memberships=frozenset({(hold.user_id, hold.team_id)} if member else ()),
    )
    versions = {} if version is None or hold.credential_id is None else {hold.credential_id: version}
    goes_on = revocation.verdict(found, Facts(people, versions)) is None
    assert goes_on == (token and user and member and version == 7)


def _made_up(version: int) -> Admitted:
    team, credential = uuid7(), uuid7()
    hold = Hold(
        uuid7(), uuid7(), "openai", "chat", "m", "team", Amounts(1, 1, 1), "UTC", uuid7(), team, credential
    )  # fmt: skip
    key = ResolvedKey(KeySource.TEAM, "openai", credential, team, version)
    return Admitted(Call(hold.request_id, "", "openai"), hold, Granted(hold.request_id, (), hold.estimate, None), key)


# --- The watch: how often it asks, and what it does without an answer --------------------------


class Bench:
    """A watch over one running call, with a clock and a database of its own."""

    def __init__(self, facts: Facts | Exception) -> None:
        self.now, self.asked, self.facts = 1000.0, 0, facts
        self.call = Progress(_made_up(7))
        self.call.started = self.now
        self.running: dict[UUID, Progress] = {self.call.admitted.hold.request_id: self.call}
        self.watch = Watch(self.running, self._ask, clock=lambda: self.now)

    async def _ask(self, question: Question) -> Facts:
        self.asked += 1
        if isinstance(self.facts, Exception):
            raise self.facts
        return self.facts

    async def check_at(self, seconds: float) -> str:
        """Check so many seconds after the start; return why the call was ended."""
        self.now = 1000.0 + seconds
        with contextlib.suppress(asyncio.CancelledError):
            await self.watch.check()
            await asyncio.sleep(0)
        return self.call.revoked.code if self.call.revoked else ""


def standing_facts(bench: Bench) -> Facts:
    hold = bench.call.admitted.hold
    people = Standing(
        frozenset({hold.token_id}), frozenset({hold.user_id}), frozenset({(hold.user_id, hold.team_id)})
    )  # fmt: skip
    return Facts(people, {hold.credential_id: 7} if hold.credential_id else {})


def on_the_bench(story: Callable[[Bench], Any], facts: Facts | Exception) -> None:
    async def run() -> None:
        await story(Bench(facts))

    asyncio.run(run())


def test_nothing_is_asked_while_nothing_runs() -> None:
    async def story(bench: Bench) -> None:
        bench.running.clear()
        await bench.check_at(2)
        assert bench.asked == 0

    on_the_bench(story, DatabaseError())


def test_without_the_database_a_running_call_goes_on_for_as_long_as_its_lease_lives() -> None:
    async def story(bench: Bench) -> None:
        assert await bench.check_at(2) == ""
        assert await bench.check_at(revocation.UNCHECKED_SECONDS - 1) == ""
        assert await bench.check_at(revocation.UNCHECKED_SECONDS) == "ProviderUnavailable"

    on_the_bench(story, DatabaseError())


def test_a_database_that_comes_back_in_time_lets_the_call_go_on() -> None:
    async def story(bench: Bench) -> None:
        assert await bench.check_at(40) == ""
        bench.facts = standing_facts(bench)
        assert await bench.check_at(50) == ""
        bench.facts = DatabaseError()
        assert await bench.check_at(100) == ""
        assert await bench.check_at(50 + revocation.UNCHECKED_SECONDS) == "ProviderUnavailable"

    on_the_bench(story, DatabaseError())


def test_a_call_whose_answer_is_complete_is_not_ended_any_more() -> None:
    async def story(bench: Bench) -> None:
        bench.call.end("ok")
        assert await bench.check_at(500) == ""

    on_the_bench(story, DatabaseError())


def test_the_checks_are_close_enough_for_five_seconds() -> None:
    assert revocation.CHECK_SECONDS <= 2
