"""One decision, whichever way the token comes; a session changes nothing without its CSRF token."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from digitalme.accounts import tokens
from digitalme.accounts.models import AccessToken, User
from tests.api.conftest import by_token

ME = "/api/v1/me/"


def ask(token: str, how: str, path: str = ME, method: str = "get") -> Any:
    headers = {"x-api-key": token} if how == "x-api-key" else {"Authorization": f"{how} {token}"}
    return getattr(Client(headers=headers), method)(path)


@pytest.mark.parametrize("how", ["Bearer", "bearer", "token", "x-api-key"])
def test_it_works(alice: User, how: str) -> None:
    _, token = tokens.issue(user=alice, name="x")
    response = ask(token, how)
    assert (response.status_code, response.json()["email"]) == (200, alice.email)


@pytest.mark.parametrize("how", ["Bearer", "x-api-key"])
@pytest.mark.parametrize("scopes", [["gateway"], ["api:read"], ["api:write"], ["api:read", "api:write"]])
@pytest.mark.parametrize("method", ["get", "head", "options", "patch"])
def test_the_scopes_decide_alike_in_both_headers(alice: User, how: str, scopes: list[str], method: str) -> None:
    _, token = tokens.issue(user=alice, name="x", scopes=scopes)
    needed = "api:write" if method == "patch" else "api:read"
    assert (ask(token, how, method=method).status_code == 200) == (needed in scopes)


def test_a_missing_scope_is_named(alice: User) -> None:
    problem = by_token(alice, "gateway").get(ME).json()
    assert (problem["status"], problem["code"]) == (403, "SecurityViolation")
    assert "api:read" in problem["detail"]


def end(state: str, row: AccessToken) -> None:
    """Bring a token into one of the states in which it opens nothing."""
    mine = AccessToken.objects.filter(pk=row.pk)
    match state:
        case "expired":
            mine.update(expires_at=timezone.now() - timedelta(seconds=1))
        case "revoked":
            tokens.revoke(row)
        case "disabled":
            User.objects.filter(pk=row.user_id).update(is_active=False)
        case "deleted":
            mine.delete()


@pytest.mark.parametrize("how", ["Bearer", "x-api-key"])
@pytest.mark.parametrize("state", ["expired", "revoked", "disabled", "deleted"])
def test_a_dead_token_opens_nothing(alice: User, how: str, state: str) -> None:
    row, token = tokens.issue(user=alice, name="x")
    end(state, row)
    response = ask(token, how)
    assert (response.status_code, response.json()["code"]) == (401, "Unauthenticated")
    assert response["WWW-Authenticate"].startswith("Bearer")
    assert token not in response.content.decode()


@pytest.mark.parametrize(
    "token", ["dm_", "dm_x", "sk-proj-abc", "dm_" + "a" * 38, "dm_\u00e9" + "a" * 37, "' OR 1=1 --"]
)
@pytest.mark.parametrize("how", ["Bearer", "x-api-key"])
@pytest.mark.django_db
def test_what_is_no_token_is_refused_and_not_repeated(token: str, how: str) -> None:
    response = ask(token, how)
    assert response.status_code == 401
    assert token not in response.json()["detail"] or token == "dm_"


def test_a_bad_token_is_not_helped_by_a_session(alice_client: Client) -> None:
    assert alice_client.get(ME, headers={"x-api-key": "dm_wrong"}).status_code == 401


@pytest.mark.parametrize("place", ["query", "cookie", "body"])
def test_a_token_elsewhere_is_no_token(alice: User, place: str) -> None:
    _, token = tokens.issue(user=alice, name="x")
    client = Client()
    if place == "cookie":
        client.cookies["sessionid"] = client.cookies["token"] = token
    path = f"{ME}?api_key={token}&access_token={token}" if place == "query" else ME
    response = client.patch(path, {"api_key": token, "token": token}, content_type="application/json")
    assert response.status_code == 401


def test_nobody_gets_nothing(client: Client, db: None) -> None:
    response = client.get(ME)
    assert (response.status_code, response.json()["code"]) == (401, "Unauthenticated")


def test_a_disabled_persons_session_ends(alice: User, alice_client: Client) -> None:
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert alice_client.get(ME).status_code == 401


UNSAFE = [
    ("put", "/api/v1/keys/openai/"),
    ("delete", "/api/v1/keys/openai/"),
    ("post", "/api/v1/keys/openai/test/"),
    ("post", "/api/v1/tokens/"),
    ("delete", "/api/v1/tokens/00000000-0000-0000-0000-000000000001/"),
    ("patch", ME),
]


@pytest.mark.parametrize(("method", "path"), UNSAFE)
def test_a_session_changes_nothing_without_its_csrf_token(strict_client: Client, method: str, path: str) -> None:
    response = getattr(strict_client, method)(path, {"name": "Eve"}, content_type="application/json")
    assert response.status_code == 403
    assert "CSRF" in response.json()["detail"]
    assert User.objects.get().name == "Alice Archer"


def test_a_session_with_its_csrf_token_may_change(strict_client: Client) -> None:
    strict_client.get("/accounts/password/change/")
    sent = strict_client.cookies["csrftoken"].value
    response = strict_client.patch(ME, {"name": "Al"}, content_type="application/json", headers={"x-csrftoken": sent})
    assert (response.status_code, User.objects.get().name) == (200, "Al")


def test_last_use_is_noted_but_not_at_every_request(alice: User) -> None:
    program = by_token(alice)
    program.get(ME)
    first = AccessToken.objects.get().last_used_at
    program.get(ME)
    assert first is not None
    assert AccessToken.objects.get().last_used_at == first


def test_a_request_costs_few_queries(alice_program: Client, django_assert_num_queries: Any) -> None:
    alice_program.get(ME)
    with django_assert_num_queries(3):  # the token, its user and tier, the role
        alice_program.get(ME)
