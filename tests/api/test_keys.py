"""/api/v1/keys/: a key goes in and never comes out."""

import json
import logging
from typing import Any

import pytest
from django.test import Client

from apikeys.models import Credential
from digitalme.accounts.models import User
from tests.api.conftest import OPENAI_KEY, OTHER_KEY, by_token, set_key
from tests.fakes import FakeProvider

URL = "/api/v1/keys/openai/"


def test_it_adds_a_key(alice: User, alice_program: Client) -> None:
    response = set_key(alice_program, display_name="Work")
    assert response.status_code == 201
    told = response.json()
    assert (told["provider"], told["display_name"], told["hint"]) == ("openai", "Work", OPENAI_KEY[-4:])
    assert (told["version"], told["status"], told["is_active"]) == (1, "unknown", True)
    assert Credential.objects.get().user == alice


def test_it_replaces_a_key_under_the_same_id(alice_program: Client) -> None:
    first = set_key(alice_program).json()
    response = set_key(alice_program, OTHER_KEY)
    told = response.json()
    assert (response.status_code, told["id"], told["version"]) == (200, first["id"], 2)
    assert told["fingerprint"] != first["fingerprint"]


def test_it_takes_the_fields_by_name(alice_program: Client) -> None:
    body = {"fields": {"api_key": OPENAI_KEY}}
    assert alice_program.put(URL, body, content_type="application/json").status_code == 201


def test_it_lists_and_tells_about_own_keys_only(alice_program: Client, charlie_program: Client) -> None:
    set_key(alice_program)
    assert [one["provider"] for one in alice_program.get("/api/v1/keys/").json()] == ["openai"]
    assert alice_program.get(URL).json()["provider"] == "openai"
    assert charlie_program.get("/api/v1/keys/").json() == []


@pytest.mark.parametrize("path", ["", "test/"])
def test_somebody_elses_key_does_not_exist(alice_program: Client, charlie_program: Client, path: str) -> None:
    set_key(alice_program)
    refused = charlie_program.post(URL + path) if path else charlie_program.get(URL)
    assert (refused.status_code, refused.json()["code"]) == (404, "KeyNotFound")


def test_somebody_else_cannot_remove_it(alice_program: Client, charlie_program: Client) -> None:
    set_key(alice_program)
    assert charlie_program.delete(URL).status_code == 404
    assert Credential.objects.count() == 1


def test_it_removes_a_key(alice_program: Client) -> None:
    set_key(alice_program)
    assert alice_program.delete(URL).status_code == 204
    assert not Credential.objects.exists()
    assert alice_program.delete(URL).status_code == 404


@pytest.mark.parametrize("body", [{"key": OPENAI_KEY}, {"fields": {"api_key": OPENAI_KEY}}])
def test_no_answer_holds_the_key_or_its_ciphertext(alice_program: Client, body: dict[str, object]) -> None:
    answers = [
        alice_program.put(URL, body, content_type="application/json"),
        alice_program.get(URL),
        alice_program.get("/api/v1/keys/"),
        alice_program.get("/api/v1/providers/"),
    ]
    sealed = Credential.objects.get().sealed["api_key"]
    for answer in answers:
        assert OPENAI_KEY not in answer.content.decode()
        assert sealed not in answer.content.decode()


CANARY = "CANARY-that-nobody-repeats"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"key": CANARY}, 422),
        ({"key": f"sk-{CANARY}\nX-Evil: 1"}, 422),
        ({"key": f"{CANARY}\u201d"}, 422),
        ({"key": ""}, 400),
        ({"key": f"{CANARY}\x00"}, 400),
        ({"key": CANARY * 1000}, 422),
        ({"key": {"inner": CANARY}}, 400),
        ({"key": [CANARY]}, 400),
        ({"fields": CANARY}, 400),
        ({"fields": {CANARY: CANARY}}, 400),
        ({"fields": {"api_key": {CANARY: 1}}}, 400),
        ({"fields": {"api_key": OPENAI_KEY, CANARY: "x"}}, 400),
        ({"fields": {}}, 422),
        ({"fields": {"api_key": OPENAI_KEY}, "key": OPENAI_KEY}, 400),
        ({"key": OPENAI_KEY, "display_name": CANARY * 10}, 400),
        ({}, 400),
    ],
)
def test_a_bad_key_is_refused_without_repeating_it(
    alice_program: Client, body: dict[str, object], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    response = alice_program.put(URL, body, content_type="application/json")
    assert response.status_code == status
    assert response["Content-Type"] == "application/problem+json"
    assert CANARY not in response.content.decode()
    assert OPENAI_KEY not in response.content.decode()
    assert CANARY not in caplog.text
    assert not Credential.objects.exists()


def test_a_refused_key_names_its_field(alice_program: Client) -> None:
    problem = set_key(alice_program, "sk-ant-of-somebody-else-0123456789").json()
    assert (problem["code"], problem["data"]["field"]) == ("InvalidKeyFormat", "api_key")


@pytest.mark.parametrize("slug", ["nobody", OPENAI_KEY, "openai%00"])
def test_an_unknown_provider_is_404_and_not_repeated(alice_program: Client, slug: str) -> None:
    response = alice_program.put(f"/api/v1/keys/{slug}/", {"key": "x"}, content_type="application/json")
    assert (response.status_code, response.json()["code"]) == (404, "NotFound")
    assert slug not in response.content.decode()


def test_a_provider_that_needs_no_key_takes_none(alice_program: Client) -> None:
    response = alice_program.put("/api/v1/keys/sandbox/", {"key": "x"}, content_type="application/json")
    assert (response.status_code, response.json()["code"]) == (400, "InvalidRequest")


@pytest.mark.parametrize(
    "extra",
    [
        {"user": "00000000-0000-0000-0000-000000000001"},
        {"is_system": True, "team": 1, "owner": "system"},
        {"id": "00000000-0000-0000-0000-000000000001", "version": 99, "status": "valid"},
        {"destination": ["https://evil.example"], "base_url": "https://evil.example", "sealed": {"api_key": "x"}},
        {"fingerprint": "x", "hint": "x", "label": "x", "is_active": False, "provider": "anthropic"},
    ],
)
def test_columns_that_are_not_the_callers_are_ignored(
    alice: User, alice_program: Client, extra: dict[str, Any]
) -> None:
    assert set_key(alice_program, **extra).status_code == 201
    stored = Credential.objects.get()
    assert (stored.user, stored.team, stored.is_system, stored.provider) == (alice, None, False, "openai")
    assert (stored.version, stored.status, stored.is_active, stored.label) == (1, "unknown", True, "")
    assert stored.destination == ["https://api.openai.com"]
    assert stored.hint == OPENAI_KEY[-4:]


def test_it_tests_a_key_with_the_provider(alice_program: Client, openai: FakeProvider) -> None:
    set_key(alice_program)
    response = alice_program.post("/api/v1/keys/openai/test/")
    assert (response.status_code, response.json()["category"]) == (200, "valid")
    assert openai.seen[-1].headers["authorization"] == f"Bearer {OPENAI_KEY}"
    assert alice_program.get(URL).json()["status"] == "valid"


def test_a_rejected_key_is_an_outcome_not_an_error(alice_program: Client, openai: FakeProvider) -> None:
    openai.manner.status = 401
    openai.manner.body = json.dumps({"error": {"code": "invalid_api_key", "message": OPENAI_KEY}}).encode()
    set_key(alice_program)
    response = alice_program.post("/api/v1/keys/openai/test/")
    assert (response.status_code, response.json()["category"]) == (200, "invalid")
    assert OPENAI_KEY not in response.content.decode()
    assert alice_program.get(URL).json()["status"] == "invalid"


def test_tests_of_keys_are_counted(alice_program: Client, alice: User, openai: FakeProvider) -> None:
    set_key(alice_program)
    answers = [alice_program.post("/api/v1/keys/openai/test/") for _ in range(11)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert answers[-1].json()["code"] == "RateLimited"
    assert int(answers[-1]["Retry-After"]) > 0
    assert by_token(alice).post("/api/v1/keys/openai/test/").status_code == 429


def test_listing_costs_the_same_for_one_and_many(alice_program: Client, django_assert_num_queries: Any) -> None:
    set_key(alice_program)
    with django_assert_num_queries(3):
        alice_program.get("/api/v1/keys/")
    alice_program.put("/api/v1/keys/anthropic/", {"key": "sk-ant-api03-" + "a" * 93 + "AA"}, "application/json")
    with django_assert_num_queries(3):
        alice_program.get("/api/v1/keys/")
