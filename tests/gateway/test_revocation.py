"""A token, person, membership or key that is taken away starts no further call, in whichever process, and
ends what runs within seconds (T10, T39, T40)."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import openai
import pytest
import requests

from apikeys import keys
from digitalme.accounts import tokens
from digitalme.accounts.models import AccessToken, Membership, Team, User
from digitalme.database import uuid7
from tests.fakes import FakeProvider, Manner
from tests.gateway.conftest import Person, WebProcess, command, until, web_process
from tests.gateway.test_sdks import MESSAGES, OWN_KEY, anthropic_client, openai_client
from tests.gateway.test_settlement import BODY, leases, ledger_is_exact

# The web process is another one: what it is to see must be committed.
pytestmark = pytest.mark.django_db(transaction=True)

NEW_KEY = "sk-new-0123456789abcdefghijklmn"
CLAUDE_KEY = "sk-ant-api03-" + "c" * 60
# The promise, of which a check every two seconds takes its part; and what a machine that is busy with other things
# may add. At the provider nothing moves for 30.
PROMISED_SECONDS, SLACK_SECONDS = 5, 15
STREAM_SECONDS = PROMISED_SECONDS + SLACK_SECONDS


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


@pytest.mark.parametrize(("redis", "processes"), [("with Redis", 2), ("with Redis down", 4)])
def test_no_call_that_begins_after_a_revocation_is_served(
    redis: str,
    processes: int,
    request: pytest.FixtureRequest,
    provider: FakeProvider,
    alice: Person,
    start_web: Callable[..., WebProcess],
    unused_port: int,
) -> None:
    """T10, under load over several processes. Nothing of it depends on Redis; so nothing changes when it is gone;
    that there is none at all is how the other tests here run."""
    own_key(alice)
    down = f"redis://127.0.0.1:{unused_port}/0"
    address = down if redis == "with Redis down" else request.getfixturevalue("redis_url")
    webs = [start_web(provider.url, REDIS_URL=address) for _ in range(processes)]
    stop = threading.Event()

    def load(number: int) -> list[tuple[float, int]]:
        answers = []
        while not stop.is_set():
            begun = time.monotonic()
            answers.append((begun, call(webs[number % processes], alice).status_code))
        return answers

    with streams(webs, alice, provider) as running, ThreadPoolExecutor(8) as crowd:
        loads = [crowd.submit(load, number) for number in range(8)]
        until(lambda: len(provider.seen) > 20)
        revoke_token(alice)
        revoked = time.monotonic()
        assert [last_event(lines)["error"]["code"] for lines in running] == ["Unauthenticated"] * processes
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
