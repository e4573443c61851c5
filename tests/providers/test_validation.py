"""What a check of a key comes to, told apart as people need it."""

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from providers import registry, validation
from providers.registry import Provider
from providers.secrets import Secret
from providers.validation import Category, Outcome
from tests.fakes import FakeProvider, Manner

KEYS = {"openai": "sk-proj-canary" + "a" * 30, "anthropic": "sk-ant-api03-canary" + "b" * 30}


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProvider]:
    with FakeProvider() as server:
        yield server


@pytest.fixture(autouse=True)
def _afresh(fake: FakeProvider) -> None:
    fake.reset()


def at(slug: str, url: str) -> Provider:
    return replace(registry.get(slug), upstream=url, operator_upstream=True)


def check(fake: FakeProvider, slug: str, timeout: float = 5.0) -> Outcome:
    found = validation.check(at(slug, fake.url), {"api_key": Secret(KEYS[slug])}, timeout=timeout)
    assert "canary" not in repr(found)
    return found


def answering(fake: FakeProvider, slug: str, status: int, error: Any, **headers: str) -> Outcome:
    body = {"error": error} if slug == "openai" else {"type": "error", "error": error, "request_id": "req_1"}
    fake.manner = Manner(status=status, body=json.dumps(body).encode(), headers=headers)
    return check(fake, slug)


def test_a_working_openai_key_is_valid(fake: FakeProvider) -> None:
    found = check(fake, "openai")
    assert (found.category, found.message) == (Category.VALID, "The key works.")
    assert found.detail == {"status": 200, "request_id": "req_upstream"}
    assert found.latency_ms >= 0
    (seen,) = fake.seen
    assert (seen.method, seen.path) == ("GET", "/v1/models")
    assert seen.headers["authorization"] == f"Bearer {KEYS['openai']}"


def test_a_working_anthropic_key_is_valid(fake: FakeProvider) -> None:
    assert check(fake, "anthropic").category is Category.VALID
    (seen,) = fake.seen
    assert seen.path == "/v1/models?limit=1"
    assert seen.headers["x-api-key"] == KEYS["anthropic"]
    assert seen.headers["anthropic-version"]
    assert "authorization" not in seen.headers


def error(message: str, kind: str | None = None, code: str | None = None) -> dict[str, Any]:
    return {"message": message, "type": kind, "param": None, "code": code}


@pytest.mark.parametrize(
    ("status", "body", "category"),
    [
        (401, error("Incorrect API key provided: sk-x***", "invalid_request_error", "invalid_api_key"), "invalid"),
        (401, error("This key has expired.", "invalid_request_error", "invalid_api_key"), "expired"),
        (401, error("You have insufficient permissions. Missing scopes: api.model.read"), "limited"),
        (401, error("Missing scopes: model.request"), "limited"),
        (401, error("You must be a member of an organization to use the API"), "limited"),
        (401, error("IP not authorized"), "limited"),
        (403, error("Country, region, or territory not supported"), "limited"),
        (429, error("You exceeded your current quota", "insufficient_quota", "insufficient_quota"), "quota"),
        (429, error("You exceeded your current quota", "insufficient_quota"), "quota"),
        (429, error("Rate limit reached", "requests", "rate_limit_exceeded"), "rate_limited"),
        (402, error("Pay first."), "quota"),
        (500, error("The server had an error", "server_error"), "unavailable"),
        (503, error("Slow down"), "unavailable"),
        (504, error("Gateway timeout"), "timeout"),
        (404, error("What?"), "unavailable"),
        (418, "teapot", "unavailable"),
    ],
)
def test_openais_errors_are_told_apart(fake: FakeProvider, status: int, body: Any, category: str) -> None:
    assert answering(fake, "openai", status, body).category == category


def problem(kind: str, message: str = "no", code: str | None = None) -> dict[str, Any]:
    return {"type": kind, "message": message, **({"details": {"error_code": code}} if code else {})}


LIMIT = "You have reached your specified API usage limits. You will regain access on 2026-12-01."


@pytest.mark.parametrize(
    ("status", "body", "category"),
    [
        (401, problem("authentication_error", "invalid x-api-key"), "invalid"),
        (401, problem("authentication_error", "This API key has expired"), "expired"),
        (401, problem("authentication_error", "CORS requests are not allowed for this Organization"), "limited"),
        (403, problem("permission_error"), "limited"),
        (402, problem("billing_error"), "quota"),
        (400, problem("invalid_request_error", LIMIT), "quota"),
        (400, problem("invalid_request_error", "Your specified workspace API usage limits are reached"), "quota"),
        (400, problem("invalid_request_error", "Your credit balance is too low to access the API."), "quota"),
        (400, problem("invalid_request_error", code="organization_on_hold"), "limited"),
        (400, problem("invalid_request_error", "limit: must be positive"), "valid"),
        (429, problem("rate_limit_error"), "rate_limited"),
        (429, problem("rate_limit_error", code="ramp_limit_exceeded"), "rate_limited"),
        (429, problem("rate_limit_error", code="enforced_spend_limit_reached"), "quota"),
        (429, problem("rate_limit_error", code="contract_spend_limit_reached"), "quota"),
        (429, problem("rate_limit_error", code="linked_organization_spend_limit_reached"), "quota"),
        (500, problem("api_error"), "unavailable"),
        (504, problem("timeout_error"), "timeout"),
        (529, problem("overloaded_error"), "unavailable"),
        (404, problem("not_found_error"), "unavailable"),
        (400, None, "unavailable"),
    ],
)
def test_anthropics_errors_are_told_apart(fake: FakeProvider, status: int, body: Any, category: str) -> None:
    assert answering(fake, "anthropic", status, body).category == category


def test_facts_for_programs_are_kept(fake: FakeProvider) -> None:
    body = problem("rate_limit_error", code="ramp_limit_exceeded")
    found = answering(fake, "anthropic", 429, body, **{"retry-after": "7", "request-id": "req_9"})
    assert found.detail == {"status": 429, "request_id": "req_9", "code": "ramp_limit_exceeded", "retry_after": "7"}


def test_the_providers_own_words_are_not_passed_on(fake: FakeProvider) -> None:
    words = f"<img onerror=x> Incorrect API key provided: {KEYS['openai']}"
    found = answering(fake, "openai", 401, error(words, "<b>", "<i>"))
    assert found.category is Category.INVALID
    assert "<" not in repr(found.detail) + found.message


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_an_answer_that_is_none_judges_no_key(fake: FakeProvider, body: bytes) -> None:
    fake.manner = Manner(body=body)
    assert check(fake, "openai").category is Category.UNAVAILABLE


def test_a_redirect_judges_no_key_and_is_not_followed(fake: FakeProvider) -> None:
    fake.manner = Manner(status=307, headers={"location": f"{fake.url}/elsewhere"})
    assert check(fake, "anthropic").category is Category.UNAVAILABLE
    assert [seen.path for seen in fake.seen] == ["/v1/models?limit=1"]


def test_a_slow_provider_judges_no_key(fake: FakeProvider) -> None:
    fake.manner = Manner(delay=0.6)
    assert check(fake, "openai", timeout=0.2).category is Category.TIMEOUT


def test_a_provider_that_cannot_be_reached_judges_no_key() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        found = validation.check(at("openai", url), {"api_key": Secret(KEYS["openai"])})
    assert (found.category, found.detail) == (Category.NETWORK, {"reason": "network"})


def test_a_name_that_leads_inside_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: answer)
    found = validation.check(registry.get("openai"), {"api_key": Secret(KEYS["openai"])})
    assert found.category is Category.NETWORK


@pytest.mark.parametrize("value", ["", "canary", "sk-ant-api03-canary" + "x" * 30, "sk-canary\n" + "x" * 30])
def test_what_cannot_be_a_key_is_not_sent(fake: FakeProvider, value: str) -> None:
    found = validation.check(at("openai", fake.url), {"api_key": Secret(value)})
    assert found.category is Category.MALFORMED
    assert "canary" not in repr(found)
    assert fake.seen == []


def test_a_missing_field_is_malformed(fake: FakeProvider) -> None:
    assert validation.check(at("openai", fake.url), {}).category is Category.MALFORMED


def test_the_sandbox_is_valid_at_once() -> None:
    assert validation.check(registry.get("sandbox"), {}).category is Category.VALID


@pytest.mark.parametrize("category", list(Category))
def test_every_outcome_has_its_sentence(category: Category) -> None:
    assert validation.MESSAGES[category].format(name="X").endswith(".")
