"""A provider that repeats the key it was sent: nobody who calls through the gateway ever sees it."""

import base64
import gzip
import http.server
import json
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests.gateway.conftest import Person, WebProcess, command, web_process
from tests.gateway.test_sdks import MESSAGES

# The web process is another one: what it is to see must be committed.
pytestmark = pytest.mark.django_db(transaction=True)

CANARY = "sk-proj-canary-Q7xW2pLm9Zt4Vb8Kd3Rf6"
RAW = CANARY.encode()
BODY = {"model": "gpt-4o-mini", "messages": MESSAGES}
Say = Callable[[http.server.BaseHTTPRequestHandler], None]


class Echo:
    """A provider that answers as a test says, down to the byte."""

    def __init__(self) -> None:
        echo = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                """Stay quiet."""

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                echo.encodings.append(self.headers.get("accept-encoding", ""))
                echo.say(self)

            do_GET = do_POST

        self.say: Say = whole(b"{}")
        self.encodings: list[str] = []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


def whole(body: bytes, status: int = 200, **headers: str) -> Say:
    def say(to: http.server.BaseHTTPRequestHandler) -> None:
        to.send_response(status)
        for name, value in {"content-type": "application/json", **headers}.items():
            to.send_header(name.replace("_", "-"), value)
        to.send_header("content-length", str(len(body)))
        to.end_headers()
        to.wfile.write(body)

    return say


def chunked(*pieces: bytes, trailer: bytes = b"", **headers: str) -> Say:
    def say(to: http.server.BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        for name, value in {"content-type": "text/event-stream", **headers}.items():
            to.send_header(name.replace("_", "-"), value)
        to.send_header("transfer-encoding", "chunked")
        to.end_headers()
        for piece in pieces:
            to.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            to.wfile.flush()
        to.wfile.write(b"0\r\n" + trailer + b"\r\n")

    return say


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    one = Echo()
    yield one
    one.server.shutdown()
    one.server.server_close()


@pytest.fixture(scope="module")
def reached(django_db_setup: None, django_db_blocker: Any, echo: Echo) -> Iterator[WebProcess]:
    with django_db_blocker.unblock(), web_process(echo.url) as process:
        yield process


@pytest.fixture
def ann(alice: Person) -> Person:
    command("set_key", "openai", "--user", alice.user.email, stdin=CANARY)
    return alice


def call(web: WebProcess, person: Person, **more: Any) -> tuple[bytes, requests.Response]:
    """Return everything that the caller sees, on the wire, and the answer."""
    url = web.gateway("openai", "/v1/chat/completions")
    answer = requests.post(url, json={**BODY, **more}, headers=person.headers, timeout=20, stream=True)
    body = answer.raw.read(decode_content=False)
    answer._content = body
    return repr(answer.headers).encode() + body, answer


def unseen(shown: bytes) -> None:
    for offset in range(3):
        assert base64.b64encode(bytes(offset) + RAW)[4:-4] not in shown
    assert RAW not in shown


ANSWER = {"choices": [{"message": {"role": "assistant", "content": f"your key is {CANARY}!"}}], "usage": {}}


def test_a_whole_answer_comes_back_without_it_and_with_its_right_length(
    reached: WebProcess, echo: Echo, ann: Person
) -> None:
    echo.say = whole(json.dumps(ANSWER).encode(), x_key=f"Bearer {CANARY}", x_basic=base64.b64encode(RAW).decode())
    shown, answer = call(reached, ann)
    unseen(shown)
    told = json.loads(answer.content)
    assert told["choices"][0]["message"]["content"] == "your key is [redacted]!"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["x-key"] == "Bearer [redacted]"
    assert echo.encodings[-1] == "identity"


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500])
def test_an_error_comes_back_without_it(status: int, reached: WebProcess, echo: Echo, ann: Person) -> None:
    said = {"error": {"message": f"Incorrect API key provided: {CANARY}", "type": CANARY, "code": CANARY}}
    echo.say = whole(json.dumps(said).encode(), status)
    shown, answer = call(reached, ann)
    unseen(shown)
    assert answer.status_code == status
    assert "Incorrect API key provided: [redacted]" in answer.text
    record = ann.record("failed")
    assert CANARY not in repr(record.__dict__)


def event(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"


DONE = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize("cut", [1, 5, len(RAW) // 2, len(RAW) - 1])
def test_a_stream_comes_without_it_however_it_is_cut(cut: int, reached: WebProcess, echo: Echo, ann: Person) -> None:
    told = event(f"<{CANARY}>")
    at = told.index(RAW) + cut
    echo.say = chunked(event("a"), told[:at], told[at:], DONE)
    shown, answer = call(reached, ann, stream=True)
    unseen(shown)
    assert answer.content.endswith(b"data: [DONE]\n\n")
    assert b"<[redacted]>" in answer.content


def test_a_stream_of_single_bytes_comes_without_it(reached: WebProcess, echo: Echo, ann: Person) -> None:
    told = event(base64.b64encode(RAW).decode()) + event(CANARY) + DONE
    echo.say = chunked(*(told[place : place + 1] for place in range(len(told))))
    shown, answer = call(reached, ann, stream=True)
    unseen(shown)
    assert answer.content.count(b"[redacted]") == 2


def test_an_error_event_and_a_trailer_come_without_it(reached: WebProcess, echo: Echo, ann: Person) -> None:
    said = json.dumps({"error": {"message": CANARY, "type": CANARY}}).encode()
    echo.say = chunked(b"event: error\ndata: " + said + b"\n\n", DONE, trailer=b"x-key: " + RAW + b"\r\n", x_key=CANARY)
    shown, _ = call(reached, ann, stream=True)
    unseen(shown)
    assert CANARY not in repr([one.__dict__ for one in ann.records()])


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
@pytest.mark.parametrize("stream", [False, True])
def test_a_compressed_answer_comes_without_it(
    stream: bool, coding: str, pack: Callable[[bytes], bytes], reached: WebProcess, echo: Echo, ann: Person
) -> None:
    packed = pack(event(CANARY) + DONE if stream else json.dumps(ANSWER).encode())
    half = len(packed) // 2
    if stream:
        echo.say = chunked(packed[:half], packed[half:], content_encoding=coding)
    else:
        echo.say = whole(packed, content_encoding=coding)
    shown, answer = call(reached, ann, stream=stream)
    unseen(shown)
    assert "content-encoding" not in answer.headers
    assert b"[redacted]" in answer.content


def test_a_compressed_answer_in_which_it_is_not_comes_as_it_is(reached: WebProcess, echo: Echo, ann: Person) -> None:
    packed = gzip.compress(b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}')
    echo.say = whole(packed, content_encoding="gzip")
    _, answer = call(reached, ann)
    assert (answer.content, answer.headers["content-encoding"]) == (packed, "gzip")
    assert ann.record("ok").input_tokens == 3


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_cannot_be_looked_into_is_refused(
    stream: bool, reached: WebProcess, echo: Echo, ann: Person
) -> None:
    echo.say = chunked(b"\x0b\x02\x80" + RAW, content_encoding="br") if stream else whole(RAW, content_encoding="br")
    shown, answer = call(reached, ann, stream=stream)
    unseen(shown)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "ProviderUnavailable")


def test_a_large_answer_is_searched_over_the_borders_of_its_pieces(
    reached: WebProcess, echo: Echo, ann: Person
) -> None:
    filler = b"x" * (1024 * 1024 - len(RAW) // 2)
    echo.say = whole(b'{"choices":[],"usage":{},"a":"' + filler + RAW + b'"}')
    shown, answer = call(reached, ann)
    assert RAW not in shown
    assert answer.content.endswith(b'x[redacted]"}')
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_the_houses_key_does_not_come_back_either(reached: WebProcess, echo: Echo, alice: Person) -> None:
    house = "sk-house-0123456789abcdefghij"
    echo.say = whole(json.dumps({"error": {"message": house}}).encode(), 401, x_key=house)
    shown, _ = call(reached, alice)
    assert house.encode() not in shown
