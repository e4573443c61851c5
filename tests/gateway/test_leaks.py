"""No key and no access token reaches a log, whatever goes wrong, at the most talkative level."""

import base64
import threading
from collections.abc import Callable

import pytest
import requests

from tests.fakes import FakeProvider, Manner
from tests.gateway.conftest import Person, WebProcess, command
from tests.gateway.test_sdks import MESSAGES

# The web process is another one: what it is to see must be committed.
pytestmark = pytest.mark.django_db(transaction=True)

CANARY = "sk-canary-Q7xW2pLm9Zt4Vb8Kd3Rf6"
MANNERS = [
    Manner(),
    Manner(status=401, body=f'{{"error":{{"message":"Incorrect API key provided: {CANARY}"}}}}'.encode()),
    Manner(status=429),
    Manner(status=500),
    Manner(body=b"{", content_type="text/html"),
    Manner(cut_after=3),
]


def forms(secret: str) -> list[bytes]:
    """The secret as it stands, in hex, reversed, and in base64 at each of the three offsets."""
    raw = secret.encode()
    encoded = [base64.b64encode(b"x" * shift + raw)[4:-4] for shift in range(3)]
    return [raw, raw.hex().encode(), raw[::-1], *encoded]


def test_logs_at_debug_level_hold_no_secret(
    provider: FakeProvider, alice: Person, start_web: Callable[..., WebProcess], unused_port: int
) -> None:
    command("set_key", "openai", "--user", alice.user.email, stdin=CANARY)
    said = bytearray()
    for upstream in (provider.url, f"http://127.0.0.1:{unused_port}"):
        web = start_web(upstream, LOG_LEVEL="DEBUG")
        listener = threading.Thread(target=lambda pipe=web.process.stderr: said.extend(pipe.read()))
        listener.start()
        for manner in MANNERS:
            provider.manner = manner
            for stream in (False, True):
                body = {"model": "gpt-4o-mini", "messages": MESSAGES, "stream": stream}
                url = web.gateway("openai", "/v1/chat/completions")
                requests.post(url, json=body, headers=alice.headers, timeout=20)
                requests.post(url, json=body, headers={"x-api-key": f"{alice.token}x"}, timeout=20)
        web.stop()
        listener.join(20)
    assert said.count(b"Application startup complete") == 2
    for secret in (CANARY, alice.token):
        assert not [form for form in forms(secret) if form in said]


def test_a_key_that_a_provider_echoes_is_not_what_the_record_keeps(
    web: WebProcess, provider: FakeProvider, alice: Person
) -> None:
    provider.manner = MANNERS[1]
    body = {"model": "gpt-4o-mini", "messages": MESSAGES}
    requests.post(web.gateway("openai", "/v1/chat/completions"), json=body, headers=alice.headers, timeout=20)
    record = alice.record("failed")
    assert CANARY not in repr(record.__dict__)
