"""To derive an owner's key costs 15 ms of CPU: nobody makes the house do it for nothing, or others wait for it."""

import asyncio
import json
import threading
from typing import Any

import pytest
from django.test import Client

from apikeys import keys, resolution, vault
from digitalme.accounts.models import User
from digitalme.accounts.tokens import digest
from providers import registry
from tests.fakes import FakeProvider
from tests.gateway.conftest import Person
from tests.gateway.in_process import started

pytestmark = pytest.mark.django_db(transaction=True)
KEY = "sk-proj-0123456789abcdefghijklmnopWXYZ"
BODY = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}).encode()
CHAT = "openai/v1/chat/completions"


@pytest.fixture
def derivations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each derivation from here on, by the thread that did it."""
    found: list[str] = []
    real = vault._derive

    def counted(root: bytes, salt: bytes, profile: int) -> bytes:
        found.append(threading.current_thread().name)
        return real(root, salt, profile)

    monkeypatch.setattr(vault, "_derive", counted)
    return found


def give_key(user: User) -> None:
    owner = keys.Owner("user", user.pk)
    keys.set_key(actor=user, owner=owner, provider=registry.get("openai"), fields={"api_key": KEY})
    vault.derived_keys.clear()


def strangers(alice: Person) -> list[dict[str, str]]:
    """Callers who are nobody, or almost somebody."""
    changed = alice.token[:-1] + ("x" if alice.token[-1] != "x" else "y")
    return [{}, {"authorization": "Bearer sk-anything"}, *({"authorization": f"Bearer {one}"} for one in (changed, ""))]


def test_who_is_not_signed_in_causes_no_derivation(
    alice: Person, derivations: list[str], provider: FakeProvider, settings: Any
) -> None:
    settings.DIGITALME_UPSTREAMS = {"openai": provider.url}
    give_key(alice.user)
    derivations.clear()

    async def calls() -> list[int]:
        async with started() as gateway:
            answers = [await gateway.call(CHAT, BODY, headers) for headers in strangers(alice) * 5]
            assert derivations == []
            served = await gateway.call(CHAT, BODY, alice.headers)
        return [one.status for one in answers] + [served.status]

    assert digest(alice.token)
    assert asyncio.run(calls()) == [401] * 20 + [200]
    assert len(derivations) == 1, "the count would have told"
    client = Client()
    for path in ("/api/v1/keys/openai/test/", "/settings/api/openai/test/", "/settings/api/openai/key/"):
        assert client.post(path, {"api_key": KEY}).status_code in (302, 401, 403)
    assert client.put("/api/v1/keys/openai/", {"key": KEY}, content_type="application/json").status_code in (401, 403)
    assert len(derivations) == 1


def test_a_crowd_at_one_cold_owner_derives_once_and_in_a_thread_of_its_own(
    alice: Person, derivations: list[str], provider: FakeProvider, settings: Any
) -> None:
    settings.DIGITALME_UPSTREAMS = {"openai": provider.url}
    give_key(alice.user)
    derivations.clear()

    async def calls() -> set[int]:
        async with started() as gateway:
            answers = await asyncio.gather(*(gateway.call(CHAT, BODY, alice.headers) for _ in range(20)))
        return {one.status for one in answers}

    assert asyncio.run(calls()) == {200}
    assert len(derivations) == 1
    assert derivations[0].startswith("derive")


def test_other_work_that_is_left_to_threads_does_not_stand_behind_cold_owners() -> None:
    async def work() -> str:
        held = threading.Event()
        crowd = [asyncio.ensure_future(resolution.aside(held.wait, 30)) for _ in range(500)]
        answer = await asyncio.wait_for(asyncio.to_thread(str, "looked up"), 20)
        held.set()
        await asyncio.gather(*crowd)
        return answer

    assert asyncio.run(work()) == "looked up"
