"""/api/v1/tokens/: shown once, never broader than what made them."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from digitalme.accounts import tokens
from digitalme.accounts.models import AccessToken, User
from tests.api.conftest import by_token

URL = "/api/v1/tokens/"


def create(client: Client, **body: Any) -> Any:
    return client.post(URL, {"name": "laptop", **body}, content_type="application/json")


def test_it_makes_a_token_that_works_and_shows_it_once(alice_client: Client) -> None:
    response = create(alice_client, scopes=["api:read"], lifetime_days=30)
    made = response.json()
    assert response.status_code == 201
    assert (made["name"], made["scopes"], made["state"]) == ("laptop", ["api:read"], "active")
    assert Client(headers={"x-api-key": made["token"]}).get("/api/v1/me/").status_code == 200
    assert made["token"] not in alice_client.get(URL).content.decode()
    assert AccessToken.objects.get().digest not in response.content.decode()


def test_a_token_calls_the_gateway_for_90_days_unless_said_otherwise(alice_client: Client) -> None:
    made = create(alice_client).json()
    row = AccessToken.objects.get()
    assert made["scopes"] == ["gateway"]
    assert row.expires_at
    assert timedelta(days=89) < row.expires_at - timezone.now() <= timedelta(days=90)


def test_null_means_no_end(alice_client: Client) -> None:
    assert create(alice_client, lifetime_days=None).json()["expires_at"] is None


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": "x" * 101},
        {"name": "a\x00b"},
        {"scopes": []},
        {"scopes": ["*"]},
        {"scopes": ["admin"]},
        {"scopes": "gateway"},
        {"scopes": ["gateway"] * 11},
        {"lifetime_days": 0},
        {"lifetime_days": -1},
        {"lifetime_days": 3651},
        {"lifetime_days": "soon"},
        {"lifetime_days": True},
    ],
)
def test_an_odd_wish_is_refused(alice_client: Client, body: dict[str, Any]) -> None:
    assert create(alice_client, **body).status_code == 400
    assert not AccessToken.objects.exists()


@pytest.mark.parametrize("wanted", [["gateway"], ["api:read"], ["api:write", "gateway"]])
def test_a_token_makes_none_that_may_do_more(alice: User, wanted: list[str]) -> None:
    response = create(by_token(alice, "api:write"), scopes=wanted)
    assert (response.status_code, response.json()["code"]) == (403, "SecurityViolation")
    assert AccessToken.objects.count() == 1


def test_a_token_makes_an_equal_or_narrower_one(alice: User) -> None:
    maker = by_token(alice, "gateway", "api:write")
    assert create(maker, scopes=["gateway", "api:write"], lifetime_days=89).status_code == 201
    assert create(maker, scopes=["gateway"], lifetime_days=1).status_code == 201


@pytest.mark.parametrize("days", [91, None])
def test_a_token_makes_none_that_outlives_it(alice: User, days: int | None) -> None:
    assert create(by_token(alice), lifetime_days=days).status_code == 403


def test_a_token_without_end_makes_one_without_end(alice: User) -> None:
    _, token = tokens.issue(user=alice, name="x", lifetime_days=None)
    assert create(Client(headers={"x-api-key": token}), lifetime_days=None).status_code == 201


def test_it_lists_own_tokens_newest_first(alice: User, charlie: User, alice_client: Client) -> None:
    for name in ("first", "second"):
        tokens.issue(user=alice, name=name)
    tokens.issue(user=charlie, name="charlie's")
    assert [one["name"] for one in alice_client.get(URL).json()] == ["second", "first"]


def test_it_revokes_a_token_at_once(alice: User, alice_client: Client) -> None:
    row, token = tokens.issue(user=alice, name="x")
    assert alice_client.delete(f"{URL}{row.pk}/").status_code == 204
    assert alice_client.get(f"{URL}{row.pk}/").json()["state"] == "revoked"
    assert Client(headers={"x-api-key": token}).get("/api/v1/me/").status_code == 401


def test_a_token_can_end_itself(alice: User) -> None:
    program = by_token(alice)
    row = AccessToken.objects.get()
    assert program.delete(f"{URL}{row.pk}/").status_code == 204
    assert program.get(URL).status_code == 401


@pytest.mark.parametrize("method", ["get", "delete"])
def test_somebody_elses_token_does_not_exist(alice: User, charlie_client: Client, method: str) -> None:
    row, _ = tokens.issue(user=alice, name="x")
    foreign = getattr(charlie_client, method)(f"{URL}{row.pk}/")
    unknown = getattr(charlie_client, method)(f"{URL}{uuid.uuid4()}/")
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.json()["detail"] == unknown.json()["detail"]
    assert AccessToken.objects.get().revoked_at is None


def test_columns_that_are_not_the_callers_are_ignored(alice: User, bob: User, alice_client: Client) -> None:
    made = create(
        alice_client,
        user=str(bob.pk),
        user_id=str(bob.pk),
        digest="0" * 64,
        id=str(uuid.uuid4()),
        hint="dm_x",
        expires_at=None,
        revoked_at=None,
        last_used_at="2020-01-01T00:00:00Z",
    ).json()
    row = AccessToken.objects.get()
    assert (row.user, row.last_used_at) == (alice, None)
    assert row.digest == tokens.digest(made["token"])
    assert row.expires_at is not None
