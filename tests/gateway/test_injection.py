"""What a caller writes into headers, paths and bodies becomes no header of another request (T16)."""

import socket
from urllib.parse import urlsplit

import pytest
import requests

from tests.fakes import FakeProvider
from tests.gateway.conftest import Person, WebProcess
from tests.gateway.test_sdks import MESSAGES

# The web process is another one: what it is to see must be committed.
pytestmark = pytest.mark.django_db(transaction=True)
PATH = "/v1/chat/completions"


def raw(web: WebProcess, request: bytes) -> bytes:
    """Send bytes as they are and return the first line of the answer."""
    at = urlsplit(web.url)
    with socket.create_connection((at.hostname or "", at.port or 0), timeout=20) as connection:
        connection.sendall(request)
        return connection.recv(65536).split(b"\r\n")[0]


@pytest.mark.parametrize("odd", [b"\x00", b"\r", b"\n", b"\x0b", b"\x01", b"\x7f", b"\r\n"], ids=ascii)
def test_an_organisation_with_a_control_character_brings_no_header_along(
    odd: bytes, web: WebProcess, provider: FakeProvider, alice: Person
) -> None:
    """A line end begins the caller's own next header, which is filtered as any other; the rest is refused."""
    head = f"GET /gateway/openai/v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.token}\r\n".encode()
    raw(web, head + b"OpenAI-Organization: org-1" + odd + b"X-Forwarded-Evil: 1\r\nConnection: close\r\n\r\n")
    for seen in provider.seen:
        assert "x-forwarded-evil" not in seen.headers
        assert not [value for value in seen.headers.values() if any(ord(one) < 32 or ord(one) == 127 for one in value)]


@pytest.mark.parametrize("odd", ["\r\nX-Evil: 1", "\n", "\x00", "\x7f", "\u2028", "\x85"], ids=ascii)
def test_a_models_name_stays_where_it_is(odd: str, web: WebProcess, provider: FakeProvider, alice: Person) -> None:
    body = {"model": f"gpt-4o{odd}", "messages": MESSAGES, "max_tokens": 9}
    answer = requests.post(web.gateway("openai", PATH), json=body, headers=alice.headers, timeout=20)
    assert answer.status_code in (200, 400)
    assert "x-evil" not in answer.headers
    for seen in provider.seen:
        assert "x-evil" not in seen.headers


@pytest.mark.parametrize("odd", ["%0d%0aX-Evil:%201", "%00", "%0a", "%7f", "%5c"])
def test_a_path_with_a_control_character_names_no_operation(
    odd: str, web: WebProcess, provider: FakeProvider, alice: Person
) -> None:
    answer = requests.get(web.gateway("openai", f"/v1/models/gpt{odd}"), headers=alice.headers, timeout=20)
    assert answer.status_code == 404
    assert provider.seen == []
