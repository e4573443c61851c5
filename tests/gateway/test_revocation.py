"""A token, person, membership or key that is taken away starts no further call, in whichever process, and
ends what runs within seconds (T10, T39, T40)."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import anthropic
import openai
import pytest
import requests
from django.db import DatabaseError, transaction
from hypothesis import given
from hypothesis import strategies as st

from apikeys import keys
from apikeys.models import Credential
from apikeys.resolution import KeySource, ResolvedKey
from digitalme.accounts import tokens
from digitalme.accounts.models import AccessToken, Membership, Team, User
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
from tests.fakes import FakeProvider, Manner
from tests.gateway.conftest import Person, WebProcess, command, web_process
from tests.gateway.test_sdks import MESSAGES, OWN_KEY, anthropic_client, openai_client
from tests.gateway.test_settlement import BODY, leases, ledger_is_exact, until

# The web process is another one: what it is to see must be committed.
pytestmark = pytest.mark.django_db(transaction=True)

NEW_KEY = "sk-new-0123456789abcdefghijklmn"
CLAUDE_KEY = "sk-ant-api03-" + "c" * 60
# The promise is five, of which a check every two takes its part; the rest is for a machine that is busy
# with other things. At the provider nothing moves for 30.
STREAM_SECONDS = 20


@pytest.fixture(scope="module")
def second(django_db_setup: None, django_db_blocker: Any, provider: FakeProvider) -> Iterator[WebProcess]:
    with contextlib.ExitStack() as stack:
        with django_db_blocker.unblock():
            process = stack.enter_context(web_process(provider.url))
        yield process


@pytest.fixture
def webs(web: WebProcess, second: WebProcess) -> list[WebProcess]:
    return [web, second]


def own_key(person: Person) -> None:
    command("set_key", "openai", "--user", person.user.email, stdin=OWN_KEY)


def team_key(person: Person) -> None:
    team = Team.objects.create(slug=uuid7().hex, name="Shared")
    Membership.objects.create(team=team, user=person.user)
    command("set_key", "openai", "--team", team.slug, stdin=OWN_KEY)


def replace(person: Person) -> None:
    command("set_key", "openai", "--user", person.user.email, stdin=NEW_KEY)


def switch_off(person: Person) -> None:
    keys.set_active(actor=None, credential=keys.key_of(person.user, "openai"), active=False)


def remove(person: Person) -> None:
    keys.remove(actor=None, credential=keys.key_of(person.user, "openai"))


def leave(person: Person) -> None:
    Membership.objects.filter(user=person.user).delete()


def revoke_token(person: Person) -> None:
    tokens.revoke(AccessToken.objects.get(user=person.user))


def disable(person: Person) -> None:
    User.objects.filter(pk=person.user.pk).update(is_active=False)


Deed = Callable[[Person], None]
# What the call rests on, what is done to it, and the error that running and new calls then meet.
WAYS: dict[str, tuple[Deed, Deed, str, str]] = {
    "the key is replaced": (own_key, replace, "ProviderUnavailable", ""),
    "the key is switched off": (own_key, switch_off, "KeyNotFound", "KeyNotFound"),
    "the key is removed": (own_key, remove, "KeyNotFound", ""),
    "the person left the team": (team_key, leave, "KeyNotFound", ""),
    "the token is revoked": (own_key, revoke_token, "Unauthenticated", "Unauthenticated"),
    "the person is disabled": (own_key, disable, "Unauthenticated", "Unauthenticated"),
}


@contextlib.contextmanager
def streams(webs: list[WebProcess], person: Person, provider: FakeProvider) -> Iterator[list[Iterator[bytes]]]:
    """A stream in each process; all delivered their first event and wait at the provider."""
    gate = threading.Event()
    provider.manner = Manner(gate=gate)
    with contextlib.ExitStack() as stack:
        found = []
        for web in webs:
            url = web.gateway("openai", "/v1/chat/completions")
            answer = requests.post(url, json=BODY, headers=person.headers, stream=True, timeout=30)
            stack.enter_context(contextlib.closing(answer))
            lines = answer.iter_lines()
            assert next(lines).startswith(b"data: ")
            found.append(lines)
        yield found
    gate.set()


def last_event(lines: Iterator[bytes]) -> Any:
    return json.loads([line for line in lines if line][-1].removeprefix(b"data: "))


def call(web: WebProcess, person: Person) -> requests.Response:
    url = web.gateway("openai", "/v1/chat/completions")
    return requests.post(url, json={**BODY, "stream": False}, headers=person.headers, timeout=30)


@pytest.mark.parametrize("way", WAYS)
def test_running_streams_end_in_every_process_and_no_call_begins(
    way: str, webs: list[WebProcess], provider: FakeProvider, alice: Person
) -> None:
    give, take, told, refused = WAYS[way]
    give(alice)
    with streams(webs, alice, provider) as running:
        take(alice)
        begun = time.monotonic()
        errors = [last_event(lines)["error"] for lines in running]
        assert time.monotonic() - begun < STREAM_SECONDS
        assert [error["code"] for error in errors] == [told, told]
        assert errors[0]["digitalme"]["reason"] == "revoked"
        until(lambda: provider.left == 2)
    provider.manner = Manner()
    until(lambda: len(alice.records()) == 2)
    for record in alice.records():
        assert (record.status, record.error_type, record.charged_requests) == ("aborted", "revoked", 1)
        assert record.output_tokens >= 1, "what was delivered is counted"
        assert record.input_tokens > 0
    assert leases(alice) == 0
    assert ledger_is_exact(alice)
    for web in webs:
        answer = call(web, alice)
        assert answer.status_code == 200 if not refused else answer.json()["error"]["code"] == refused


@pytest.mark.parametrize("redis", ["without Redis", "with Redis", "with Redis down"])
def test_no_call_that_begins_after_a_revocation_is_served(
    redis: str,
    request: pytest.FixtureRequest,
    provider: FakeProvider,
    alice: Person,
    start_web: Callable[..., WebProcess],
    unused_port: int,
) -> None:
    """T10, under load over two processes. Nothing of it depends on Redis; so nothing changes without it."""
    own_key(alice)
    at = {"without Redis": "", "with Redis down": f"redis://127.0.0.1:{unused_port}/0"}
    address = at[redis] if redis in at else request.getfixturevalue("redis_url")
    webs = [start_web(provider.url, REDIS_URL=address) for _ in range(2)]
    stop = threading.Event()

    def load(number: int) -> list[tuple[float, int]]:
        answers = []
        while not stop.is_set():
            begun = time.monotonic()
            answers.append((begun, call(webs[number % 2], alice).status_code))
        return answers

    with streams(webs, alice, provider) as running, ThreadPoolExecutor(8) as crowd:
        loads = [crowd.submit(load, number) for number in range(8)]
        until(lambda: len(provider.seen) > 20)
        revoke_token(alice)
        revoked = time.monotonic()
        assert [last_event(lines)["error"]["code"] for lines in running] == ["Unauthenticated"] * 2
        assert time.monotonic() - revoked < STREAM_SECONDS
        stop.set()
        answers = [answer for one in loads for answer in one.result()]
    assert {status for begun, status in answers if begun < revoked} >= {200}
    assert {status for begun, status in answers if begun > revoked} == {401}


def test_the_sdks_raise_their_own_errors(web: WebProcess, provider: FakeProvider, alice: Person) -> None:
    own_key(alice)
    command("set_key", "anthropic", "--user", alice.user.email, stdin=CLAUDE_KEY)
    provider.manner = Manner(gate=threading.Event())
    chat = openai_client(web, alice).chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, stream=True)
    message = anthropic_client(web, alice).messages.create(
        model="claude-sonnet-5", max_tokens=9, messages=MESSAGES, stream=True
    )
    next(iter(chat))
    next(iter(message))
    revoke_token(alice)
    with pytest.raises(openai.APIError, match="access token was revoked"):
        list(chat)
    with pytest.raises(anthropic.APIError, match="access token was revoked"):
        list(message)


def test_a_call_that_waits_for_its_answer_is_refused_and_counted(
    web: WebProcess, provider: FakeProvider, alice: Person
) -> None:
    own_key(alice)
    provider.manner = Manner(delay=20)
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(call, web, alice)
        until(lambda: provider.seen)
        switch_off(alice)
        answer = waiting.result(15)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "KeyNotFound")
    assert answer.headers["x-should-retry"] == "false"
    record = alice.record("aborted")
    assert (record.error_type, record.charged_requests, record.output_tokens) == ("revoked", 1, 0)
    assert ledger_is_exact(alice)


def test_another_persons_stream_and_another_keys_go_on(
    web: WebProcess, provider: FakeProvider, person: Callable[[], Person]
) -> None:
    alice, bob = person(), person()
    own_key(alice)
    own_key(bob)
    with streams([web], alice, provider) as (hers,), streams([web], bob, provider) as (his,):
        command("set_key", "anthropic", "--user", bob.user.email, stdin=CLAUDE_KEY)
        remove(alice)
        assert last_event(hers)["error"]["code"] == "KeyNotFound"
        provider.manner.gate.set()  # type: ignore[union-attr]
        assert [line for line in his if line][-1] == b"data: [DONE]"
    assert bob.record().status == "ok"


# --- The judgement by itself -----------------------------------------------------------------


def admitted(person: Person) -> Admitted:
    """A call of this person's, admitted as the gateway does it."""
    provider = registry.get("openai")
    operation = provider.match("POST", "/v1/chat/completions")
    asked = Call(uuid7(), tokens.digest(person.token), "openai", provider, operation, Estimate(1, 9, 9, "gpt-4o", True))
    now = datetime.now(UTC)
    ledger.ensure_periods([(person.user.id, "openai", person.user.time_zone)], now=now)
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
