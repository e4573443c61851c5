"""When an own key fails: nothing happens unless its owner agreed, and whatever does is told."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests
from django.utils import timezone

from apikeys import keys
from apikeys.models import Credential
from providers import registry
from quotas import fallback, known
from quotas.models import Allocation, Lease
from tests.fakes import FakeProvider, Reply, Seen, answer
from tests.gateway.conftest import Person, WebProcess, until

pytestmark = pytest.mark.django_db(transaction=True)
OWN = "sk-own-0123456789abcdefghijklmnop"
BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}


@pytest.fixture
def own_key(alice: Person, provider: FakeProvider) -> Credential:
    """A key of alice's which OpenAI refuses; it takes the house's."""
    provider.manner.reply = _only_the_house
    owner = keys.Owner("user", alice.user.pk)
    return keys.set_key(actor=alice.user, owner=owner, provider=registry.get("openai"), fields={"api_key": OWN})


def _only_the_house(seen: Seen) -> Reply:
    if OWN in str(seen.headers):
        return Reply(401, {"error": {"message": "Incorrect API key", "type": "invalid_request_error"}})
    return Reply(200, answer(seen.path, seen.json))


def agree(alice: Person, choice: str, cost: str | None = None) -> None:
    amount = None if cost is None else Decimal(cost)
    fallback.consent(actor=alice.user, choice=choice, cost=amount, now=timezone.now())
    known.forget()


def call(web: WebProcess, alice: Person, **headers: str) -> Any:
    sent = {**alice.headers, **headers}
    return requests.post(f"{web.url}/gateway/openai/v1/chat/completions", json=BODY, headers=sent, timeout=20)


def kept(alice: Person, number: int) -> list[tuple[str, str]]:
    until(lambda: len(alice.records()) == number)
    until(lambda: not Lease.objects.filter(user_id=alice.user.pk).exists())
    return [(one.key_source, one.status) for one in alice.records()]


def expire(credential: Credential) -> None:
    Credential.objects.filter(pk=credential.pk).update(expires_at=timezone.now() - timedelta(seconds=1))


def test_without_consent_the_providers_own_refusal_comes_back(web: WebProcess, alice: Person, own_key: Any) -> None:
    told = call(web, alice, **{"X-DigitalMe-Fallback": "demo"})
    assert (told.status_code, told.json()["error"]["message"]) == (401, "Incorrect API key")
    assert "x-digitalme-fallback" not in told.headers
    assert kept(alice, 1) == [("user", "failed")]


def test_with_consent_the_demo_key_serves_and_says_so(web: WebProcess, alice: Person, own_key: Any) -> None:
    agree(alice, "demo", "5")
    told = call(web, alice)
    assert told.status_code == 200
    assert (told.headers["x-digitalme-key-source"], told.headers["x-digitalme-fallback"]) == ("system", "used")
    assert kept(alice, 2) == [("user", "failed"), ("fallback", "ok")]
    last = alice.records()[-1]
    assert str(last.request_id) == told.headers["x-digitalme-request-id"]
    row = Allocation.objects.get(user=alice.user, type="fallback")
    assert (row.used_cost, row.allowed_cost) == (last.cost, Decimal(5))
    assert Allocation.objects.get(user=alice.user, type="demo", provider="openai").used_requests == 1


def test_the_amount_is_never_exceeded(web: WebProcess, alice: Person, own_key: Credential) -> None:
    agree(alice, "demo", "0.01")
    expire(own_key)
    Allocation.objects.filter(user=alice.user, type="fallback").update(used_cost=Decimal("0.009999"))
    refused = call(web, alice)
    told = refused.json()["error"]["digitalme"]
    assert (refused.status_code, told["limit_type"], told["remedy"]) == (429, "fallback", "raise_fallback")
    assert kept(alice, 2) == [("", "refused"), ("", "refused")]


@pytest.mark.parametrize("how", ["refused", "expired"])
def test_who_wants_to_be_asked_is_asked_each_time(
    web: WebProcess, alice: Person, own_key: Credential, how: str
) -> None:
    agree(alice, "ask")
    if how == "expired":
        expire(own_key)
    asked = call(web, alice)
    assert asked.status_code == (401 if how == "refused" else 404)
    assert asked.headers["x-digitalme-fallback"] == "ask"
    served = call(web, alice, **{"X-DigitalMe-Fallback": "demo"})
    assert (served.status_code, served.headers["x-digitalme-fallback"]) == (200, "used")
    assert kept(alice, 3)[-1] == ("fallback", "ok")


@pytest.mark.parametrize("spoil", [{"is_active": False}, {}])
def test_a_key_that_works_or_is_switched_off_is_not_replaced(
    web: WebProcess, alice: Person, own_key: Credential, provider: FakeProvider, spoil: dict[str, Any]
) -> None:
    agree(alice, "demo", "5")
    provider.manner.reply = None
    Credential.objects.filter(pk=own_key.pk).update(**spoil)
    told = call(web, alice)
    assert told.status_code == (404 if spoil else 200)
    assert "x-digitalme-fallback" not in told.headers


def test_a_key_that_cannot_be_read_counts_as_failed(web: WebProcess, alice: Person, own_key: Credential) -> None:
    agree(alice, "demo", "5")
    Credential.objects.filter(pk=own_key.pk).update(sealed={"api_key": "b2Rk"})
    assert call(web, alice).headers["x-digitalme-fallback"] == "used"


def test_what_the_demo_key_does_not_serve_stays_refused(
    web: WebProcess, alice: Person, own_key: Credential, provider: FakeProvider
) -> None:
    agree(alice, "demo", "5")
    told = requests.get(f"{web.url}/gateway/openai/v1/batches", headers=alice.headers, timeout=20)
    assert told.status_code in (401, 404)
    assert all(OWN in str(seen.headers) for seen in provider.seen)


def test_nobody_else_pays_for_it(web: WebProcess, person: Callable[[], Person], alice: Person, own_key: Any) -> None:
    bob = person()
    agree(bob, "demo", "5")
    assert call(web, alice).status_code == 401
