"""Refusals as problem documents."""

import io
import json
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.test import Client

from digitalme.accounts import tokens
from digitalme.accounts.models import User
from digitalme.api import keys, me
from digitalme.errors import DecryptionFailed

CANARY = "sk-proj-canaryCANARYcanary0123456789"


def test_a_problem_has_all_its_parts(alice_program: Client) -> None:
    response = alice_program.get("/api/v1/keys/openai/")
    problem = response.json()
    assert response["Content-Type"] == "application/problem+json"
    assert problem == {
        "type": "urn:digitalme:error:KeyNotFound",
        "title": "No key can serve this call",
        "status": 404,
        "detail": "You have no OpenAI key of your own.",
        "code": "KeyNotFound",
        "request_id": response["X-Request-Id"],
        "data": {},
    }


@pytest.mark.parametrize("path", ["", "nothing/", "keys", "usage/records/not-an-id/", f"keys/{CANARY}/x/y/z/", "%00/"])
@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
def test_an_unknown_address_is_a_problem_too(alice_program: Client, method: str, path: str) -> None:
    response = getattr(alice_program, method)(f"/api/v1/{path}")
    assert (response.status_code, response.json()["code"]) == (404, "NotFound")
    assert CANARY not in response.content.decode()


def test_strangers_learn_no_addresses(client: Client, db: None) -> None:
    assert client.get("/api/v1/nothing/").status_code == client.get("/api/v1/me/").status_code == 401


@pytest.mark.parametrize(
    ("method", "path"), [("post", "me/"), ("delete", "me/"), ("post", "keys/"), ("get", "keys/openai/test/")]
)
def test_a_wrong_method_is_405(alice_program: Client, method: str, path: str) -> None:
    assert getattr(alice_program, method)(f"/api/v1/{path}").status_code == 405


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"' + CANARY.encode() + b'"',
        b"null",
        b'{"name": NaN}',
        b'{"name": Infinity}',
        b"\xff\xfe{}",
        b'{"name": "' + CANARY.encode() + b'\x01"}',
        b"[" * 100_000,
        b'{"a":' * 10_000,
    ],
)
def test_a_body_that_is_no_json_object_is_400_and_not_repeated(alice_program: Client, body: bytes) -> None:
    response = alice_program.generic("PATCH", "/api/v1/me/", body[:60_000], content_type="application/json")
    assert (response.status_code, response.json()["detail"]) == (400, "The body is not valid JSON.")


def test_a_body_in_another_charset_is_refused(alice_program: Client) -> None:
    sent = json.dumps({"name": "é"}).encode("utf-16")
    response = alice_program.generic("PATCH", "/api/v1/me/", sent, content_type="application/json; charset=utf-16")
    assert response.status_code == 400


def test_a_large_body_is_413(alice_program: Client) -> None:
    body = json.dumps({"name": CANARY * 5000}).encode()
    response = alice_program.generic("PATCH", "/api/v1/me/", body, content_type="application/json")
    assert (response.status_code, response.json()["code"]) == (413, "InvalidRequest")


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/html", ""]
)
def test_only_json_is_taken(alice_program: Client, kind: str) -> None:
    response = alice_program.generic("PATCH", "/api/v1/me/", b"name=Eve", content_type=kind)
    assert response.status_code == 415


def test_only_json_is_given(alice_program: Client) -> None:
    response = alice_program.get("/api/v1/me/", headers={"Accept": "text/html"})
    assert (response.status_code, response["Content-Type"]) == (406, "application/problem+json")


def test_what_is_not_valid_is_told_by_field(alice_program: Client) -> None:
    body = {"theme": CANARY, "time_zone": CANARY, "name": "x" * 151}
    problem = alice_program.patch("/api/v1/me/", body, content_type="application/json").json()
    assert (problem["status"], problem["code"]) == (400, "InvalidRequest")
    assert set(problem["errors"]) == {"theme", "time_zone", "name"}
    assert CANARY not in json.dumps(problem)


def test_our_own_errors_keep_code_status_and_data(alice_program: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise DecryptionFailed("The key cannot be opened.", credential="x", retry_after=7)

    monkeypatch.setattr(keys, "own_key", fail)
    response = alice_program.get("/api/v1/keys/openai/")
    problem = response.json()
    assert (response.status_code, problem["code"]) == (500, "DecryptionFailed")
    assert (problem["data"]["credential"], response["Retry-After"]) == ("x", "7")


def test_a_fault_tells_nothing_and_is_logged(
    alice_program: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("inner workings")

    monkeypatch.setattr(keys, "own_key", fail)
    alice_program.raise_request_exception = False
    response = alice_program.get("/api/v1/keys/openai/")
    assert response.status_code == 500
    assert response.json()["request_id"] == response["X-Request-Id"]
    assert "inner workings" not in response.content.decode()
    assert "inner workings" in caplog.text


@pytest.mark.parametrize(("size", "status"), [(10, 200), (150, 200), (151, 400), (70_000, 413)])
def test_a_body_that_comes_without_its_length_counts_too(alice: User, size: int, status: int) -> None:
    _, token = tokens.issue(user=alice, name="x")
    headers = {"x-api-key": token, "content-type": "application/json", "transfer-encoding": "chunked"}
    scope = {
        "type": "http",
        "method": "PATCH",
        "path": "/api/v1/me/",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    sent = ASGIRequest(scope, io.BytesIO(json.dumps({"name": "x" * size}).encode()))
    response = me.Me.as_view()(sent)
    alice.refresh_from_db()
    assert response.status_code == status
    assert (alice.name == "x" * size) == (status == 200)
