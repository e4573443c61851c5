"""/: the start page."""

import re
from typing import Any

import pytest
from django.test import Client

from digitalme.accounts import tokens
from digitalme.accounts.models import AccessToken, User
from tests.web.conftest import add_call, add_key, queries_of

pytestmark = pytest.mark.django_db


def test_it_tells_a_stranger_what_it_is_and_where_to_sign_up(client: Client) -> None:
    text = client.get("/").content.decode()
    assert "Every model, one key" in text
    assert "/accounts/signup/" in text


def test_it_shows_a_newcomer_three_steps(alice_client: Client) -> None:
    text = alice_client.get("/").content.decode()
    assert "Welcome, Alice" in text
    assert text.count('class="card step"') == 3
    assert "curl http://testserver/gateway/sandbox/v1/chat/completions" in text


def test_the_example_names_the_address_the_person_came_by(alice_client: Client, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["keys.example.com"]
    assert (
        "http://keys.example.com/gateway/"
        in alice_client.get("/", headers={"host": "keys.example.com"}).content.decode()
    )


def test_steps_that_are_done_are_ticked_off(alice_client: Client, alice: User) -> None:
    add_key(alice)
    add_call(alice)
    text = alice_client.get("/").content.decode()
    assert text.count('class="card step done"') == 3
    assert "Today: 1 call, $0.42." in text


@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}])
def test_a_token_made_here_stands_in_the_example_once(
    alice_client: Client, alice: User, headers: dict[str, str]
) -> None:
    text = alice_client.post("/start/token/", headers=headers).content.decode()
    found = re.search(r"Authorization: Bearer (dm_[0-9A-Za-z]{38})", text)
    assert found
    assert AccessToken.objects.get(user=alice).digest == tokens.digest(found.group(1))
    assert AccessToken.objects.get(user=alice).scopes == ["gateway"]
    assert found.group(1) not in alice_client.get("/").content.decode()


def test_others_keys_and_calls_do_not_count(charlie_client: Client, alice: User) -> None:
    add_key(alice)
    add_call(alice)
    assert charlie_client.get("/").content.decode().count('class="card step"') == 3


def test_the_settings_lead_to_the_profile(alice_client: Client) -> None:
    assert alice_client.get("/settings/")["Location"] == "/settings/profile/"


def test_it_takes_few_queries(alice_client: Client, alice: User) -> None:
    add_call(alice)
    assert queries_of(alice_client, "/") <= 12
