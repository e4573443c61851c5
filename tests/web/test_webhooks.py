"""/settings/webhooks/"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apikeys import webhook_secrets
from digitalme.accounts.models import User
from digitalme.notifications.models import Delivery, Webhook
from tests.fakes import FakeProvider, Manner

PAGE = "/settings/webhooks/"
SECRET = re.compile(r"whsec_[A-Za-z0-9+/=]{44}")


@pytest.fixture
def receiver(settings: Any) -> Iterator[FakeProvider]:
    """Where events are posted, on loopback."""
    settings.DIGITALME_PRIVATE_HOSTS = frozenset({"127.0.0.1"})
    with FakeProvider() as fake:
        fake.manner = Manner(status=200, body=b"")
        yield fake


def add(user: User, receiver: FakeProvider) -> Webhook:
    return webhook_secrets.add(user=user, url=f"{receiver.url}/in", name="pager", now=timezone.now())[0]


def test_one_is_added_and_its_secret_shown_once(alice_client: Client, receiver: FakeProvider) -> None:
    assert "No webhooks yet" in alice_client.get(PAGE).content.decode()
    shown = alice_client.post(PAGE, {"name": "pager", "url": f"{receiver.url}/in"}).content.decode()
    assert SECRET.search(shown)
    webhook = Webhook.objects.get()
    for path in (PAGE, f"{PAGE}{webhook.pk}/"):
        again = alice_client.get(path).content.decode()
        assert "pager" in again
        assert not SECRET.search(again)


def test_an_address_that_leads_inside_is_refused_at_its_field(alice_client: Client) -> None:
    answer = alice_client.post(PAGE, {"name": "x", "url": "https://10.0.0.1/"})
    assert answer.status_code == 422
    assert "not on the public internet" in answer.content.decode()
    assert not Webhook.objects.exists()


def test_a_test_says_what_came_of_it(alice: User, alice_client: Client, receiver: FakeProvider) -> None:
    here = f"{PAGE}{add(alice, receiver).pk}/"
    assert "It was taken: status 200" in alice_client.post(f"{here}test/", follow=True).content.decode()
    receiver.manner = Manner(status=500)
    shown = alice_client.post(f"{here}test/", follow=True).content.decode()
    assert "It was not taken. It answered 500" in shown
    assert shown.count("webhook.test") >= 2
    assert len(receiver.seen) == 2


def test_tests_are_counted(alice: User, alice_client: Client, receiver: FakeProvider, settings: Any) -> None:
    settings.THROTTLES = {**settings.THROTTLES, "api.webhook_tests": 1}
    here = f"{PAGE}{add(alice, receiver).pk}/"
    assert [alice_client.post(f"{here}test/").status_code for _ in range(2)] == [302, 429]
    assert len(receiver.seen) == 1


def test_it_is_switched_given_another_secret_and_removed_after_a_question(
    alice: User, alice_client: Client, receiver: FakeProvider
) -> None:
    here = f"{PAGE}{add(alice, receiver).pk}/"
    assert "Nothing is posted" in alice_client.post(f"{here}switch/", {"on": "0"}, follow=True).content.decode()
    assert not Webhook.objects.get().is_active
    alice_client.post(f"{here}switch/", {"on": "1"})
    assert "Make a new secret?" in alice_client.get(f"{here}?ask=secret").content.decode()
    assert SECRET.search(alice_client.post(f"{here}secret/").content.decode())
    asked = alice_client.get(f"{here}?ask=remove", headers={"HX-Request": "true"}).content.decode()
    assert "Remove “pager”?" in asked
    assert "<html" not in asked
    assert Webhook.objects.exists()
    alice_client.post(f"{here}remove/")
    assert not Webhook.objects.exists()
    activity = alice_client.get("/settings/security/").content.decode()
    assert "Webhook added" in activity
    assert "Webhook removed" in activity


def test_nobody_else_sees_or_touches_it(alice: User, bob_client: Client, receiver: FakeProvider) -> None:
    here = f"{PAGE}{add(alice, receiver).pk}/"
    assert bob_client.get(here).status_code == 404
    for deed in ("test", "switch", "secret", "remove"):
        assert bob_client.post(f"{here}{deed}/").status_code == 404
    assert Webhook.objects.get().is_active
    assert receiver.seen == []
    assert not Delivery.objects.exists()


def test_programs_do_all_of_it(alice_client: Client, receiver: FakeProvider) -> None:
    path, json = "/api/v1/webhooks/", {"content_type": "application/json"}
    made = alice_client.post(path, {"name": "pager", "url": f"{receiver.url}/in"}, **json).json()  # type: ignore[arg-type]
    assert SECRET.fullmatch(made["secret"])
    here = f"{path}{made['id']}/"
    assert "secret" not in alice_client.get(here).json()
    assert "secret" not in alice_client.get(path).json()[0]
    tested = alice_client.post(f"{here}test/").json()
    assert (tested["state"], tested["answer_status"]) == ("delivered", 200)
    assert alice_client.get(f"{here}deliveries/").json()["results"][0]["id"] == tested["id"]
    assert alice_client.post(f"{here}secret/").json()["secret"] != made["secret"]
    assert alice_client.patch(here, {"is_active": False}, **json).json()["is_active"] is False  # type: ignore[arg-type]
    refused = alice_client.post(path, {"name": "x", "url": "https://10.0.0.1/"}, **json)  # type: ignore[arg-type]
    assert (refused.status_code, refused.json()["code"]) == (403, "SecurityViolation")
    assert alice_client.delete(here).status_code == 204
    assert alice_client.get(here).status_code == 404
