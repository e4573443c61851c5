"""A mailbox on the page of keys, and by the API."""

import html
from typing import Any

import pytest
from django.test import Client

from apikeys.models import Credential
from digitalme.accounts.models import User
from tests import mailboxes
from tests.address_forms import INSIDE
from tests.mailboxes import Inbox, fields, sending
from tests.web.test_api_keys import card

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("trusted")]
KEY = "/settings/api/email/key/"
NEW = f"{KEY}?new=1"
URL = "/api/v1/keys/email/"


def entered(answer: Any) -> str:
    return html.unescape(answer.content.decode())


def test_a_mailbox_is_connected_and_tried(alice_client: Client, inbox: Inbox) -> None:
    answer = alice_client.post(NEW, fields(**sending(inbox.port)), follow=True)
    assert "Sending works." in entered(answer)
    assert "Connected" in card(answer, "email")
    assert mailboxes.PASSWORD not in entered(answer)
    assert Credential.objects.get().destination == [f"smtp://localhost:{inbox.port}"]


def test_the_card_says_in_words_what_is_wrong(alice_client: Client, inbox: Inbox) -> None:
    alice_client.post(NEW, fields(**sending(inbox.port)))
    answer = alice_client.post(KEY, {**fields(**sending(inbox.port)), "password": "nope-nope"}, follow=True)
    assert "app password" in entered(answer)
    assert Credential.objects.get().status == Credential.Status.INVALID


def test_the_password_may_stay_where_the_servers_do(alice_client: Client, alice: User, inbox: Inbox) -> None:
    alice_client.post(NEW, fields(**sending(inbox.port)))
    answer = alice_client.post(KEY, {**fields(**sending(inbox.port)), "password": ""}, follow=True)
    assert "Sending works." in entered(answer)


@pytest.mark.parametrize("change", [{"smtp_port": "587"}, {"imap_host": "imap.evil.example"}])
def test_another_server_wants_the_password_again(alice_client: Client, inbox: Inbox, change: dict[str, str]) -> None:
    alice_client.post(NEW, fields(**sending(inbox.port)))
    inbox.reset()
    answer = alice_client.post(KEY, {**fields(**sending(inbox.port)), **change, "password": ""})
    assert (answer.status_code, "enter this one again" in entered(answer)) == (422, True)
    assert (Credential.objects.get().version, inbox.logins) == (1, [])


@pytest.mark.parametrize("host", [host for host in INSIDE if host])
def test_no_host_that_leads_inside_is_kept(alice_client: Client, host: str) -> None:
    answer = alice_client.put(URL, {"fields": fields(smtp_host=host)}, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (422, "InvalidKeyFormat")
    assert Credential.objects.count() == 0


def test_a_mailbox_needs_a_host(alice_client: Client) -> None:
    answer = alice_client.put(URL, {"fields": fields()}, content_type="application/json")
    assert (answer.status_code, "Enter the SMTP host" in answer.json()["detail"]) == (422, True)


def test_the_api_tries_it_too(alice_client: Client, inbox: Inbox) -> None:
    answer = alice_client.put(URL, {"fields": fields(**sending(inbox.port))}, content_type="application/json")
    assert answer.status_code == 201
    outcome = alice_client.post(f"{URL}test/").json()
    assert (outcome["category"], outcome["message"]) == (
        "valid",
        "Sending works. Without an IMAP host nothing can be read.",
    )
    assert mailboxes.PASSWORD not in str(outcome)
