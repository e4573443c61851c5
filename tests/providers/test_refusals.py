"""Our refusals make the official SDKs raise what they would raise for the provider's own."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anthropic
import openai
import pytest

from digitalme import errors
from digitalme.errors import DigitalMeError
from providers import refusals

CASES: list[tuple[type[DigitalMeError], int, type[Exception], type[Exception]]] = [
    (errors.InvalidRequest, 400, openai.BadRequestError, anthropic.BadRequestError),
    (errors.Unauthenticated, 401, openai.AuthenticationError, anthropic.AuthenticationError),
    (errors.SecurityViolation, 403, openai.PermissionDeniedError, anthropic.PermissionDeniedError),
    (errors.NotFound, 404, openai.NotFoundError, anthropic.NotFoundError),
    (errors.KeyNotFound, 404, openai.NotFoundError, anthropic.NotFoundError),
    (errors.InvalidKeyFormat, 422, openai.UnprocessableEntityError, anthropic.UnprocessableEntityError),
    (errors.QuotaExceeded, 429, openai.RateLimitError, anthropic.RateLimitError),
    (errors.RateLimited, 429, openai.RateLimitError, anthropic.RateLimitError),
    (errors.DecryptionFailed, 500, openai.InternalServerError, anthropic.InternalServerError),
    (errors.ProviderUnavailable, 502, openai.InternalServerError, anthropic.InternalServerError),
    (errors.ValidationTimeout, 504, openai.InternalServerError, anthropic.InternalServerError),
]
RETRYABLE = (errors.ProviderUnavailable, errors.RateLimited, errors.ValidationTimeout)


@contextmanager
def serving(answer: tuple[int, list[tuple[bytes, bytes]], bytes]) -> Iterator[tuple[str, list[str]]]:
    """A server that refuses everything like this; yields its address and the paths asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["content-length"]))
            status, headers, body = answer
            self.send_response(status)
            for name, value in headers:
                self.send_header(name.decode(), value.decode())
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("kind", "status", "openais", "anthropics"), CASES)
def test_the_sdks_raise_their_own_errors_and_retry_only_what_can_mend(
    kind: type[DigitalMeError], status: int, openais: type[Exception], anthropics: type[Exception]
) -> None:
    error = kind("Do this.", retry_after=0, allowed=50)
    tries = 2 if kind in RETRYABLE else 1
    with serving(refusals.render("openai", error, "id-1")) as (url, asked):
        client = openai.OpenAI(api_key="dm_x", base_url=f"{url}/v1", max_retries=1)
        with pytest.raises(openais, match=r"Do this\.") as raised:
            client.embeddings.create(model="m", input="hi")
        assert len(asked) == tries
        assert isinstance(raised.value, openai.APIStatusError)
        assert (raised.value.status_code, raised.value.code) == (status, error.code.value)
        client.close()
    with serving(refusals.render("anthropic", error, "id-1")) as (url, asked):
        other = anthropic.Anthropic(api_key="dm_x", base_url=url, max_retries=1)
        with pytest.raises(anthropics, match=r"Do this\.") as raised:
            other.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "hi"}])
        assert len(asked) == tries
        assert isinstance(raised.value, anthropic.APIStatusError)
        assert raised.value.status_code == status
        other.close()


def test_a_quota_refusal_explains_itself_to_openai_programs() -> None:
    error = errors.QuotaExceeded("Used up.", allowed=50, used=50, held=2, retry_after=30)
    status, headers, body = refusals.render("openai", error, "id-1")
    assert status == 429
    assert dict(headers) == {
        b"content-type": b"application/json",
        b"x-should-retry": b"false",
        b"retry-after": b"30",
    }
    assert json.loads(body) == {
        "error": {
            "message": "Used up.",
            "type": "insufficient_quota",
            "param": None,
            "code": "QuotaExceeded",
            "digitalme": {
                "code": "QuotaExceeded",
                "request_id": "id-1",
                "allowed": 50,
                "used": 50,
                "held": 2,
                "retry_after": 30,
            },
        }
    }


def test_a_quota_refusal_explains_itself_to_anthropic_programs() -> None:
    _, _, body = refusals.render("anthropic", errors.QuotaExceeded("Used up.", allowed=50), "id-1")
    assert json.loads(body) == {
        "type": "error",
        "error": {
            "type": "rate_limit_error",
            "message": "Used up.",
            "details": {"error_code": "QuotaExceeded", "allowed": 50},
        },
        "request_id": "id-1",
    }


def test_what_a_retry_can_mend_does_not_forbid_it() -> None:
    _, headers, _ = refusals.render("openai", errors.ProviderUnavailable("Down."), "id-1")
    assert headers == [(b"content-type", b"application/json")]
