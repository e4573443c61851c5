"""Labels, ends and duplicates of keys at /api/v1/keys/."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from apikeys.models import Credential
from digitalme.accounts.models import User
from providers.registry import Provider
from tests.api.conftest import OPENAI_KEY, OTHER_KEY, set_key

pytestmark = pytest.mark.usefixtures("notes")
URL = "/api/v1/keys/openai/"
HOME = "/api/v1/keys/notes/home/"
FIELDS = {"password": "hunter2hunter2", "account": "alice"}


def put(client: Client, url: str = HOME, **more: Any) -> Any:
    return client.put(url, {"fields": FIELDS, **more}, content_type="application/json")


def patch(client: Client, url: str, **what: Any) -> Any:
    return client.patch(url, what, content_type="application/json")


def test_each_label_is_an_address(alice_program: Client) -> None:
    assert put(alice_program).status_code == 201
    assert put(alice_program, "/api/v1/keys/notes/office/").status_code == 201
    assert put(alice_program, "/api/v1/keys/notes/").status_code == 201
    assert put(alice_program).status_code == 200
    listed = alice_program.get("/api/v1/keys/").json()
    assert [one["label"] for one in listed] == ["", "home", "office"]
    assert alice_program.delete(HOME).status_code == 204
    assert alice_program.get(HOME).status_code == 404
    assert Credential.objects.count() == 2


def test_a_provider_of_one_key_takes_no_label(alice_program: Client) -> None:
    answer = alice_program.put("/api/v1/keys/openai/office/", {"key": OPENAI_KEY}, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidRequest")


def test_it_says_that_the_same_key_is_there_already_and_replaces_it_nonetheless(
    alice_program: Client, charlie_program: Client
) -> None:
    first = set_key(alice_program).json()
    assert first["same_as"] is None
    again = set_key(alice_program).json()
    assert (again["same_as"], again["version"]) == (first["id"], 2)
    assert set_key(alice_program, OTHER_KEY).json()["same_as"] is None
    assert set_key(charlie_program, OTHER_KEY).json()["same_as"] is None, "of others nothing is said"


def test_the_terms_change_and_the_key_stays(alice_program: Client) -> None:
    put(alice_program)
    told = patch(
        alice_program, HOME, label="den", display_name="Den", expires_at="2100-01-01T00:00:00Z", rotate_by="2099-12-01"
    ).json()
    assert (told["label"], told["display_name"], told["version"]) == ("den", "Den", 1)
    assert (told["expires_at"], told["rotate_by"]) == ("2100-01-01T00:00:00Z", "2099-12-01")
    told = patch(alice_program, "/api/v1/keys/notes/den/", expires_at=None).json()
    assert (told["expires_at"], told["rotate_by"], told["display_name"]) == (None, "2099-12-01", "Den")


def test_a_key_is_switched_off_and_on(alice_program: Client) -> None:
    set_key(alice_program)
    assert patch(alice_program, URL, is_active=False).json()["is_active"] is False
    assert patch(alice_program, URL, is_active=True).json()["is_active"] is True


@pytest.mark.parametrize(
    "what",
    [
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"rotate_by": "2020-01-01"},
        {"rotate_by": "soon"},
        {"display_name": "x" * 101},
        {"label": "office"},
    ],
)
def test_terms_that_cannot_be_are_refused(what: dict[str, Any], alice_program: Client) -> None:
    set_key(alice_program)
    assert patch(alice_program, URL, **what).status_code == 400


def test_the_last_use_is_told(alice: User, alice_program: Client, notes: Provider) -> None:
    set_key(alice_program)
    assert alice_program.get(URL).json()["last_use"] is None
    use = {"operation": "chat", "model": "gpt-4o", "token": "", "network": "203.0.113.0/24"}
    Credential.objects.update(last_use=use, last_used_at=datetime(2026, 11, 1, tzinfo=UTC))
    assert alice_program.get(URL).json()["last_use"] == use
