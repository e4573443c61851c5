"""Several keys of one provider, and keys whose life is over, through the gateway."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import requests

from apikeys.models import Credential
from providers.registry import Provider
from tests.fakes import FakeProvider
from tests.gateway.conftest import Person, WebProcess, command, until
from tests.gateway.test_sdks import MESSAGES, OWN_KEY

# The web process is another one: what it is to see must be committed.
pytestmark = pytest.mark.django_db(transaction=True)
BOTH = ["--field", "password", "--field", "account"]


def test_the_label_follows_the_provider_in_the_path(
    start_web: Callable[..., WebProcess], provider: FakeProvider, alice: Person, notes: Provider
) -> None:
    web = start_web(provider.url, application="tests.several:application", NOTES_UPSTREAM=provider.url)
    mine = ["notes", "--user", alice.user.email, *BOTH]
    command("set_key", *mine, stdin="without-label\nalice")
    command("set_key", *mine, "--label", "home", stdin="at-home\nalice")

    def get(path: str) -> int:
        return requests.get(web.gateway("notes", path), headers=alice.headers, timeout=20).status_code

    assert [get("/v1/notes"), get("/home/v1/notes/7?all=%2F"), get("/office/v1/notes"), get("/home/v2")] == [
        200,
        200,
        404,
        404,
    ]
    assert [(one.path, one.headers["authorization"]) for one in provider.seen] == [
        ("/v1/notes", "Bearer without-label"),
        ("/v1/notes/7?all=%2F", "Bearer at-home"),
    ]
    refusal = requests.get(web.gateway("notes", "/office/v1/notes"), headers=alice.headers, timeout=20).json()["error"]
    assert "with the label 'office'" in refusal["message"]
    assert {record.provider for record in alice.records()} == {"notes"}


def test_an_expired_own_key_stops_calls_with_a_clear_error(
    web: WebProcess, provider: FakeProvider, alice: Person
) -> None:
    command("set_key", "openai", "--user", alice.user.email, stdin=OWN_KEY)
    Credential.objects.filter(user=alice.user).update(expires_at=datetime.now(UTC) - timedelta(days=1))
    body = {"model": "gpt-4o-mini", "messages": MESSAGES}
    answer = requests.post(web.gateway("openai", "/v1/chat/completions"), json=body, headers=alice.headers, timeout=20)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["digitalme"]["reason"]) == (404, "KeyNotFound", "expired")
    assert "Your OpenAI key expired on" in error["message"]
    assert provider.seen == [], "the house's key does not step in"


def test_a_key_knows_by_what_it_was_used_last(web: WebProcess, provider: FakeProvider, alice: Person) -> None:
    command("set_key", "openai", "--user", alice.user.email, stdin=OWN_KEY)
    body = {"model": "gpt-4o-mini", "messages": MESSAGES}
    requests.post(web.gateway("openai", "/v1/chat/completions"), json=body, headers=alice.headers, timeout=20)
    alice.record("ok")
    until(lambda: Credential.objects.get(user=alice.user).last_use)
    assert Credential.objects.get(user=alice.user).last_use == {
        "operation": "chat",
        "model": "gpt-4o-mini",
        "token": str(alice.record("ok").token_id),
        "network": "127.0.0.0/24",
    }
