"""Refusals in the shapes of the providers beyond OpenAI and Anthropic."""

import json
from typing import Any

import pytest

from digitalme import errors
from digitalme.errors import DigitalMeError
from providers import refusals, schema

OVER = errors.QuotaExceeded("Used up.", allowed=50, used=50, retry_after=30)
LONG = errors.QuotaExceeded("Used up.", retry_after=40_000)
KINDS: list[type[DigitalMeError]] = [
    errors.InvalidRequest,
    errors.Unauthenticated,
    errors.NotFound,
    errors.KeyNotFound,
    errors.DecryptionFailed,
    errors.QuotaExceeded,
    errors.ProviderUnavailable,
    errors.InvalidKeyFormat,
    errors.ValidationTimeout,
    errors.SecurityViolation,
]


def rendered(shape: str, error: DigitalMeError) -> tuple[int, dict[bytes, bytes], dict[str, Any]]:
    status, headers, body = refusals.render(shape, error, "id-1")
    return status, dict(headers), json.loads(body)


@pytest.mark.parametrize("shape", schema.ERROR_SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_refusal_has_every_shape_and_says_what_to_do(shape: str, kind: type[DigitalMeError]) -> None:
    status, headers, value = rendered(shape, kind("Do this.", allowed=3))
    assert 200 <= status < 600
    assert "Do this." in json.dumps(value)
    assert kind.code.value in json.dumps(value)
    assert (headers.get(b"x-should-retry") == b"false") is not kind.retryable


@pytest.mark.parametrize("shape", schema.ERROR_SHAPES)
def test_an_exceeded_limit_says_when_to_come_back(shape: str) -> None:
    assert rendered(shape, OVER)[1][b"retry-after"] == b"30"


def test_pygithub_is_not_sent_to_sleep_for_hours() -> None:
    assert b"retry-after" not in rendered("github", LONG)[1]
    assert rendered("openai", LONG)[1][b"retry-after"] == b"40000"


@pytest.mark.parametrize(
    ("shape", "error", "status", "part"),
    [
        ("slack", errors.Unauthenticated("x"), 200, {"ok": False, "error": "invalid_auth"}),
        ("slack", OVER, 429, {"ok": False, "error": "ratelimited"}),
        ("slack", errors.KeyNotFound("x"), 200, {"ok": False, "error": "not_authed"}),
        ("github", OVER, 429, {"message": "API rate limit exceeded: Used up.", "status": "429"}),
        ("github", errors.Unauthenticated("x"), 401, {"message": "x"}),
        ("telegram", OVER, 429, {"ok": False, "error_code": 429, "parameters": {"retry_after": 30}}),
        ("telegram", errors.KeyNotFound("x"), 403, {"ok": False, "error_code": 403, "description": "x"}),
        ("telegram", errors.NotFound("x"), 404, {"error_code": 404}),
        ("clickup", errors.Unauthenticated("x"), 401, {"err": "x", "ECODE": "DIGITALME_Unauthenticated"}),
        ("twocaptcha", errors.Unauthenticated("x"), 200, {"errorId": 1, "request": "ERROR_KEY_DOES_NOT_EXIST"}),
        ("twocaptcha", OVER, 200, {"errorId": 10, "errorCode": "ERROR_ZERO_BALANCE", "errorDescription": "Used up."}),
        ("problem", OVER, 429, {"title": "QuotaExceeded", "status": 429, "detail": "Used up.", "request_id": "id-1"}),
    ],
)
def test_a_refusal_is_what_the_providers_clients_know(
    shape: str, error: DigitalMeError, status: int, part: dict[str, Any]
) -> None:
    found, _, value = rendered(shape, error)
    assert found == status
    assert {key: value[key] for key in part} == part


def test_googles_clients_do_not_take_a_refusal_for_an_expired_token() -> None:
    status, _, value = rendered("google", errors.Unauthenticated("x"))
    assert (status, value["error"]["code"], value["error"]["status"]) == (403, 403, "PERMISSION_DENIED")
    assert value["error"]["errors"][0]["reason"] == "Unauthenticated"


def test_json_rpc_has_its_codes() -> None:
    _, _, value = rendered("jsonrpc", errors.NotFound("x"))
    assert (value["jsonrpc"], value["id"], value["error"]["code"]) == ("2.0", None, -32601)
    assert rendered("jsonrpc", OVER)[2]["error"]["data"]["allowed"] == 50


def test_a_problem_is_marked_as_one() -> None:
    assert rendered("problem", OVER)[1][b"content-type"] == b"application/problem+json"
