"""What is neither metered nor changed passes as it comes, in both directions, whatever its size."""

import asyncio
import contextlib
import gzip
import http.client
import socket
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from digitalme.accounts.models import AccessToken
from digitalme.accounts.models import User as Account
from digitalme.asgi import application
from digitalme.errors import InvalidRequest
from digitalme.gateway import bodies
from tests.gateway.conftest import KEYS, Person, WebProcess, command, until, web_process
from tests.gateway.sink import PIECE, Sink, Taken

# The web process is another one: what it is to see must be committed.
pytestmark = pytest.mark.django_db(transaction=True)

MIB = 1024 * 1024
LARGE = 200 * MIB
# What a process may take more than before while such a body passes: its buffers, and what Python gives back late.
FLAT = 40 * MIB


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as one:
        yield one


@pytest.fixture(scope="module")
def here(django_db_setup: None, django_db_blocker: Any, sink: Sink) -> Iterator[WebProcess]:
    """A web process whose providers all are the sink."""
    with django_db_blocker.unblock(), web_process(sink.url) as process:
        yield process


@pytest.fixture(autouse=True)
def _empty(sink: Sink) -> None:
    sink.reset()


@pytest.fixture
def cleo(person: Callable[[], Person]) -> Person:
    """Somebody with a key for ClickUp, whose answers nobody reads."""
    one = person()
    command("set_key", "clickup", "--user", one.user.email, stdin=KEYS["clickup"])
    return one


def address(web: WebProcess, rest: str) -> str:
    return web.gateway("clickup", f"/api/v2/task/{rest}")


def taken(sink: Sink, person: Person) -> Taken:
    """Return the one request that came through, as the person's key and not with their token."""
    (one,) = sink.taken
    assert one.headers["authorization"] == KEYS["clickup"]
    assert person.token not in f"{one.path} {one.headers}"
    return one


def pieces(size: int) -> Iterator[bytes]:
    for start in range(0, size, len(PIECE)):
        yield PIECE[: size - start]


def checksum(size: int) -> int:
    found = 0
    for piece in pieces(size):
        found = zlib.crc32(piece, found)
    return found


class Sized:
    """A body of a known length that is made while it is sent."""

    def __init__(self, size: int) -> None:
        self._size, self._pieces = size, pieces(size)

    def __len__(self) -> int:
        return self._size

    def read(self, size: int = -1) -> bytes:
        return next(self._pieces, b"")


def memory(web: WebProcess, what: str) -> int:
    """Return a figure of the process's memory in bytes: VmRSS now, VmHWM at its peak."""
    for line in Path(f"/proc/{web.process.pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"{what} is not told")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process's memory")
def test_two_hundred_megabytes_pass_up_and_down_through_a_few(here: WebProcess, sink: Sink, cleo: Person) -> None:
    requests.get(address(here, "warm"), headers=cleo.headers, timeout=60)
    sink.reset()
    before = memory(here, "VmRSS")
    answer = requests.post(address(here, "up"), data=pieces(LARGE), headers=cleo.headers, timeout=300)
    assert answer.json() == {"size": LARGE}
    assert (taken(sink, cleo).size, taken(sink, cleo).checksum) == (LARGE, checksum(LARGE))
    size = 0
    with requests.get(address(here, f"down?bytes={LARGE}"), headers=cleo.headers, stream=True, timeout=300) as down:
        assert down.headers["content-length"] == str(LARGE)
        size = sum(len(piece) for piece in down.iter_content(MIB))
    assert size == LARGE
    assert memory(here, "VmHWM") - before < FLAT
    until(lambda: [one.status for one in cleo.records()] == ["ok"] * 3)


@pytest.mark.parametrize("size", [1, 65_536, 65_537, 40 * MIB])
def test_a_body_of_known_length_arrives_whole(size: int, here: WebProcess, sink: Sink, cleo: Person) -> None:
    body: Any = Sized(size)
    answer = requests.put(address(here, "up"), data=body, headers=cleo.headers, timeout=120)
    assert answer.json() == {"size": size}
    seen = taken(sink, cleo)
    assert (seen.method, seen.headers["content-length"], seen.checksum) == ("PUT", str(size), checksum(size))
    assert "transfer-encoding" not in seen.headers
    assert cleo.record("ok").operation == "task"


def test_a_body_goes_on_before_it_is_complete(here: WebProcess, sink: Sink, cleo: Person) -> None:
    def body() -> Iterator[bytes]:
        yield PIECE
        assert sink.begun.wait(30), "nothing of the body came through"
        yield PIECE

    answer = requests.post(address(here, "up"), data=body(), headers=cleo.headers, timeout=60)
    assert answer.json() == {"size": 2 * len(PIECE)}


@pytest.mark.parametrize("how", ["", "&chunked=1"])
def test_an_answer_comes_before_it_is_complete(how: str, here: WebProcess, sink: Sink, cleo: Person) -> None:
    size = 4 * len(PIECE)
    url = address(here, f"down?bytes={size}&gate=1{how}")
    with requests.get(url, headers=cleo.headers, stream=True, timeout=60) as answer:
        first = answer.raw.read(1000)
        sink.gate.set()
        assert first + answer.raw.read() == PIECE * 4
        assert answer.headers.get("content-length") == (None if how else str(size))
    assert cleo.record("ok").first_byte_ms is not None


@pytest.mark.parametrize(
    ("slug", "path", "kind", "status"),
    [
        (
            "google",
            "/generativelanguage/v1beta/models/gemini-2.5-flash:streamGenerateContent",
            "application/json",
            "cut",
        ),
        ("openai", "/v1/audio/speech", "audio/mpeg", "ok"),
    ],
)
def test_what_is_metered_and_streams_comes_before_it_is_complete(
    slug: str, path: str, kind: str, status: str, here: WebProcess, sink: Sink, person: Callable[[], Person]
) -> None:
    one = person()
    command("set_key", slug, "--user", one.user.email, stdin={**KEYS, "openai": "sk-" + "k" * 30}[slug])
    url = f"{here.gateway(slug, path)}?bytes={MIB}&chunked=1&gate=1&kind={kind}"
    asked = {"model": "tts-1", "input": "hi"}
    with requests.post(url, json=asked, headers=one.headers, stream=True, timeout=60) as answer:
        pieces, size = answer.iter_content(1000), 1000
        assert next(pieces) == PIECE[:1000]
        sink.gate.set()
        # What is no list has no end either, and the connection is broken off as the provider's was.
        with contextlib.suppress(requests.RequestException):
            for piece in pieces:
                size += len(piece)
    assert one.record(status).operation == path.rpartition("/")[2].rpartition(":")[2]
    assert MIB - 1000 <= size <= MIB


def test_an_answer_in_the_middle_of_an_upload_is_told(here: WebProcess, sink: Sink, cleo: Person) -> None:
    answer = requests.post(address(here, "early"), data=pieces(8 * MIB), headers=cleo.headers, timeout=60)
    assert (answer.status_code, answer.json()["ECODE"]) == (413, "ITEM_01")
    assert cleo.record("failed").error_type == "http_413"
    answer = requests.post(address(here, "up"), data=pieces(MIB), headers=cleo.headers, timeout=60)
    assert answer.json() == {"size": MIB}


def test_a_client_that_leaves_in_the_middle_of_an_upload_ends_it(here: WebProcess, sink: Sink, cleo: Person) -> None:
    at = urlsplit(here.url)
    with socket.create_connection((str(at.hostname), int(at.port or 0)), timeout=30) as raw:
        head = f"POST /gateway/clickup/api/v2/task/up HTTP/1.1\r\nhost: {at.netloc}\r\ncontent-length: 1000000\r\n"
        raw.sendall(f"{head}authorization: {cleo.token}\r\n\r\n".encode() + PIECE)
        assert sink.begun.wait(30)
    assert cleo.record("aborted").error_type == "client_gone"
    assert not sink.taken[0].whole


def test_a_client_that_leaves_in_the_middle_of_an_answer_ends_it(here: WebProcess, sink: Sink, cleo: Person) -> None:
    url = address(here, f"down?bytes={LARGE}")
    with requests.get(url, headers=cleo.headers, stream=True, timeout=60) as answer:
        answer.raw.read(1000)
    assert cleo.record("aborted").error_type == "client_gone"


@pytest.mark.parametrize("how", ["", "&chunked=1"])
def test_an_answer_that_breaks_off_is_no_whole_one_here_either(
    how: str, here: WebProcess, sink: Sink, cleo: Person
) -> None:
    url = address(here, f"down?bytes={4 * MIB}&cut=1{how}")
    with pytest.raises(requests.RequestException), requests.get(url, headers=cleo.headers, timeout=60) as answer:
        answer.raise_for_status()
    assert cleo.record("cut").error_type == "ProviderUnavailable"


def test_a_download_ends_when_its_token_is_revoked(here: WebProcess, sink: Sink, cleo: Person) -> None:
    url = address(here, f"down?bytes={4 * MIB}&gate=1")
    with requests.get(url, headers=cleo.headers, stream=True, timeout=60) as answer:
        answer.raw.read(1000)
        AccessToken.objects.filter(user=cleo.user).delete()
        with pytest.raises(requests.RequestException):
            for _ in answer.iter_content(MIB):
                pass
    assert cleo.record("aborted").error_type == "revoked"
    assert Account.objects.filter(pk=cleo.user.pk).exists()


def test_compression_passes_where_nothing_is_read(here: WebProcess, sink: Sink, cleo: Person) -> None:
    for wanted, coding in (("gzip, deflate, br", "gzip"), ("br", "identity"), ("gzip;q=0", "identity")):
        sink.reset()
        headers = {**cleo.headers, "accept-encoding": wanted}
        with requests.get(address(here, "list?zipped=1"), headers=headers, stream=True, timeout=60) as answer:
            raw = answer.raw.read(decode_content=False)
        assert taken(sink, cleo).headers["accept-encoding"] == coding
        if coding == "gzip":
            assert answer.headers["content-encoding"] == "gzip"
            assert gzip.decompress(raw) == PIECE * 4


def test_compression_passes_in_what_streams_too(here: WebProcess, sink: Sink, cleo: Person) -> None:
    url = address(here, "list?zipped=1&large=1")
    with requests.get(url, headers=cleo.headers, stream=True, timeout=60) as answer:
        raw = answer.raw.read(decode_content=False)
    assert len(raw) > bodies.SMALL_BODY
    assert answer.headers["content-length"] == str(len(raw))
    assert len(gzip.decompress(raw)) == 200_000


@pytest.mark.parametrize("how", ["", "&zipped=1"])
def test_a_long_answer_with_the_key_in_it_breaks_off(how: str, here: WebProcess, sink: Sink, cleo: Person) -> None:
    connection = http.client.HTTPConnection(urlsplit(here.url).netloc, timeout=60)
    connection.request("GET", f"/gateway/clickup/api/v2/task/list?echo=1{how}", headers=cleo.headers)
    with pytest.raises(http.client.IncompleteRead) as broken_off:
        connection.getresponse().read()
    connection.close()
    came = broken_off.value.partial
    assert KEYS["clickup"].encode() not in (zlib.decompressobj(wbits=31).decompress(came) if how else came)
    assert cleo.record("cut").key_source == "user"


def test_a_compressed_request_stays_as_it_is(here: WebProcess, sink: Sink, cleo: Person) -> None:
    body = gzip.compress(PIECE)
    headers = {**cleo.headers, "content-encoding": "gzip"}
    requests.post(address(here, "up"), data=body, headers=headers, timeout=60)
    seen = taken(sink, cleo)
    assert (seen.headers["content-encoding"], seen.checksum) == ("gzip", zlib.crc32(body))


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_passes(method: str, here: WebProcess, sink: Sink, cleo: Person) -> None:
    answer = requests.request(method, address(here, "x"), headers=cleo.headers, timeout=60)
    assert answer.status_code == 200
    assert taken(sink, cleo).method == method


@pytest.mark.parametrize("size", [100, 5 * MIB])
def test_the_head_of_an_answer_tells_its_length(size: int, here: WebProcess, sink: Sink, cleo: Person) -> None:
    answer = requests.head(address(here, f"down?bytes={size}"), headers=cleo.headers, timeout=60)
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, str(size), b"")
    assert taken(sink, cleo).method == "HEAD"


def test_what_would_show_the_key_or_open_a_tunnel_does_not_pass(here: WebProcess, sink: Sink, cleo: Person) -> None:
    answer = requests.request("TRACE", address(here, "x"), headers=cleo.headers, timeout=60)
    assert (answer.status_code, sink.taken) == (404, [])


@pytest.mark.parametrize(
    "rest", ["a%2Fb%3Ac%20d", "a;b=1,c", "a//b", "%E2%82%AC?x=%20+&&y=%zz;&a=1&a=2&=", "x?", "x?q=a/../b%00"]
)
def test_a_path_and_query_pass_byte_for_byte(rest: str, here: WebProcess, sink: Sink, cleo: Person) -> None:
    at = urlsplit(here.url)
    connection = http.client.HTTPConnection(at.netloc, timeout=60)
    connection.putrequest("GET", f"/gateway/clickup/api/v2/task/{rest}", skip_accept_encoding=True)
    connection.putheader("authorization", cleo.token)
    connection.endheaders()
    assert connection.getresponse().status == 200
    connection.close()
    assert taken(sink, cleo).path == f"/api/v2/task/{rest}".removesuffix("?")


def test_only_what_concerns_the_provider_goes_there_and_comes_back(here: WebProcess, sink: Sink, cleo: Person) -> None:
    told = {"origin": "https://evil.example", "cookie": "sessionid=1", "referer": "https://a.example/?k"}
    told |= {"connection": "x-hop", "x-hop": "1", "te": "trailers", "x-forwarded-for": "10.0.0.1", "x-mine": "yes"}
    answer = requests.get(address(here, "x"), headers={**cleo.headers, **told}, timeout=60)
    seen = taken(sink, cleo)
    assert not (set(told) - {"connection", "x-mine"}) & set(seen.headers)
    assert seen.headers["x-mine"] == "yes"
    assert (answer.headers["x-request-id"], answer.headers["x-ratelimit-remaining"]) == ("r1", "7")
    assert not {"set-cookie", "keep-alive"} & set(answer.headers)


def test_what_is_metered_is_still_read_whole_and_has_a_limit(here: WebProcess, sink: Sink, cleo: Person) -> None:
    url = here.gateway("openai", "/v1/chat/completions")
    answer = requests.post(url, data=b" " * (33 * MIB), headers=cleo.headers, timeout=120)
    assert (answer.status_code, sink.taken) == (400, [])
    assert "32 MiB" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/gateway/openai/v1/realtime?model=x", "/gateway/slack/api/x", "/gateway/nobody/"])
def test_a_websocket_is_refused_in_words(path: str, here: WebProcess, sink: Sink, cleo: Person) -> None:
    asked = {"connection": "keep-alive, Upgrade", "upgrade": "WebSocket", "sec-websocket-version": "13"}
    headers = {**cleo.headers, **asked, "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}
    answer = requests.get(here.url + path, headers=headers, timeout=60)
    assert answer.status_code == 501
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "NotSupported"
    assert "WebSockets" in answer.json()["detail"]
    assert sink.taken == []


@pytest.mark.parametrize("path", ["/gateway/openai/v1/realtime", "/upload/drive", "/"])
@pytest.mark.parametrize("able", [True, False])
async def test_a_server_that_speaks_websockets_itself_is_told_to_refuse(path: str, able: bool) -> None:
    said: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    extensions: dict[str, Any] = {"websocket.http.response": {}} if able else {}
    scope = {"type": "websocket", "path": path, "headers": [], "extensions": extensions}
    await application(scope, asyncio.Queue().get, send)  # type: ignore[no-untyped-call]
    if able:
        assert [one["type"] for one in said] == ["websocket.http.response.start", "websocket.http.response.body"]
        assert said[0]["status"] == 501
    else:
        assert said == [{"type": "websocket.close", "code": 1003}]


async def test_a_body_that_stops_coming_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "SILENCE_SECONDS", 0.01)
    silent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    upload = bodies.Upload(b"some", silent.get, None)
    coming = aiter(upload.pieces())
    assert await anext(coming) == b"some"
    with pytest.raises(InvalidRequest, match="stopped coming"):
        await anext(coming)


async def test_a_length_that_is_no_number_is_refused() -> None:
    for given in (b"-1", b"1, 1", b"9" * 30, b""):
        with pytest.raises(InvalidRequest, match="content-length"):
            await bodies.begun({b"content-length": given}, asyncio.Queue().get)
