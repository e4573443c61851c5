"""MCP servers: whether one works, told from raw HTTP; where its messages go."""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from digitalme.errors import ProviderUnavailable, SecurityViolation
from providers import registry, validation
from providers.adapter import Asked
from providers.manifest import Operation
from providers.mcp import Mcp
from providers.outbound import Relay
from providers.secrets import Secret
from providers.validation import Outcome
from tests import mcp_servers
from tests.address_forms import LEADS_INSIDE, PUBLIC
from tests.fakes import FakeProvider, Manner, Reply, Seen
from tests.providers.conftest import BLOCKED, Resolver

TOKEN = "mcp-canary-0123456789"
POST = Operation("message", ("POST",), "/", dialect="jsonrpc")
EVENTS = {"content-type": "text/event-stream"}


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProvider]:
    with FakeProvider() as server:
        yield server


@pytest.fixture(autouse=True)
def _afresh(fake: FakeProvider, settings: Any) -> None:
    fake.reset()
    settings.DIGITALME_PRIVATE_HOSTS = frozenset({"127.0.0.1"})


def check(url: str, token: str = TOKEN, *, timeout: float = 10, **more: str) -> Outcome:
    fields = {"url": url, **({"token": token} if token else {}), **more}
    found = validation.check(
        registry.get("mcp"), {name: Secret(value) for name, value in fields.items()}, timeout=timeout
    )
    assert not token or token not in repr(found)
    return found


def says(**facts: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, **facts}


DISCOVERED = says(result={"supportedVersions": ["2025-11-25", "2026-07-28"], "capabilities": {}})
UNKNOWN = says(error={"code": -32601, "message": "canary"})
BEGUN = says(result={"protocolVersion": "2025-06-18", "serverInfo": {"name": "tools"}})
PONG = says(result={})


def server(**by_method: Any) -> Callable[[Seen], Reply]:
    """A server that answers each method, or HTTP method, as it is told; the rest is not found."""

    def reply(seen: Seen) -> Reply:
        method = seen.json["method"] if seen.method == "POST" else seen.method
        found = by_method.get(method.replace("/", "_"), Reply(404, {"error": "canary"}))
        return found if isinstance(found, Reply) else Reply(200, found)

    return reply


# --- Whether it works ----------------------------------------------------------------------------

LEGACY = {"server_discover": UNKNOWN, "initialize": BEGUN, "notifications_initialized": Reply(202, b""), "ping": PONG}
OTHER_VERSION = Reply(400, says(error={"code": -32022, "data": {"supported": ["2027-01-01"]}}))
STREAMED = Reply(200, b"event: message\ndata: " + json.dumps(BEGUN).encode() + b"\n\n", EVENTS)
ENDED = Reply(401, {}, {"www-authenticate": 'Bearer error_description="The token EXPIRED"'})
UNSCOPED = Reply(403, {}, {"www-authenticate": 'Bearer error="insufficient_scope"'})
NOT_INITIALIZED = Reply(400, says(error={"code": -32000}))
LATE = {"server_discover": Reply(504, {}), "initialize": Reply(504, {})}
OUTCOMES: list[tuple[str, dict[str, Any], str, str]] = [
    ("modern", {"server_discover": DISCOVERED}, "valid", "answers"),
    (
        "other versions",
        {"server_discover": Reply(400, says(error={"code": -32022, "data": {"supported": ["2027-01-01"]}}))},
        "valid",
        "answers",
    ),
    ("legacy", LEGACY, "valid", "answers"),
    (
        "legacy that refuses strangers",
        {**LEGACY, "server_discover": NOT_INITIALIZED},
        "valid",
        "answers",
    ),
    ("legacy without ping", {**LEGACY, "ping": UNKNOWN}, "valid", "answers"),
    ("legacy that ends the token", {**LEGACY, "ping": Reply(401, {})}, "invalid", "does not accept"),
    (
        "legacy as a stream",
        {**LEGACY, "initialize": STREAMED},
        "valid",
        "answers",
    ),
    ("sse", {"GET": Reply(200, b": hello\n\nevent: endpoint\ndata: /m?s=1\n\n", EVENTS)}, "valid", "answers"),
    ("sse that is none", {"GET": Reply(200, b"event: message\ndata: hi\n\n", EVENTS)}, "malformed", "no MCP server"),
    ("a page", {"GET": Reply(200, b"<html>canary</html>")}, "malformed", "no MCP server"),
    ("nothing", {}, "malformed", "no MCP server"),
    ("refuses to begin", {"initialize": Reply(400, says(error={"code": -32602}))}, "unavailable", "refuses to begin"),
    ("unknown token", {"server_discover": Reply(401, {})}, "invalid", "does not accept"),
    (
        "expired",
        {"server_discover": ENDED},
        "expired",
        "expired",
    ),
    (
        "scope",
        {"server_discover": UNSCOPED},
        "limited",
        "more rights",
    ),
    ("no credit", {"server_discover": Reply(402, {})}, "quota", "credit"),
    ("too many", {"server_discover": Reply(429, {}, {"retry-after": "7"})}, "rate_limited", "no more requests"),
    ("down", {"server_discover": Reply(503, {}), "initialize": Reply(503, {})}, "unavailable", "problem of its own"),
    (
        "gateway timeout",
        {"server_discover": Reply(504, {}), "initialize": Reply(504, {})},
        "timeout",
        "problem of its own",
    ),
    ("moved", {"server_discover": Reply(308, {}, {"location": "https://evil.test/canary"})}, "malformed", "redirect"),
]


@pytest.mark.parametrize(("replies", "category", "words"), [one[1:] for one in OUTCOMES], ids=[o[0] for o in OUTCOMES])
def test_what_a_check_comes_to(fake: FakeProvider, replies: dict[str, Any], category: str, words: str) -> None:
    fake.manner = Manner(reply=server(**replies))
    found = check(f"{fake.url}/mcp?a=b")
    assert (found.category.value, words in found.message) == (category, True), found
    assert "canary" not in repr(found), "what a server says is not passed on"
    assert {seen.path for seen in fake.seen} == {"/mcp?a=b"}
    assert {seen.headers["authorization"] for seen in fake.seen} == {f"Bearer {TOKEN}"}


def test_a_server_that_wants_a_token_says_so(fake: FakeProvider) -> None:
    fake.manner = Manner(reply=server(server_discover=Reply(401, {})))
    assert "asks for a token" in check(fake.url, token="").message
    assert "authorization" not in fake.seen[0].headers


def test_the_question_is_asked_as_the_protocol_says(fake: FakeProvider) -> None:
    fake.manner = Manner(reply=server(server_discover=DISCOVERED))
    found = check(f"{fake.url}/mcp", header="X-Tool-Key")
    (seen,) = fake.seen
    assert (seen.headers["x-tool-key"], seen.headers.get("authorization")) == (TOKEN, None)
    assert (seen.headers["mcp-protocol-version"], seen.headers["mcp-method"]) == ("2026-07-28", "server/discover")
    assert seen.json["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
    assert found.detail["facts"] == {"protocol": "2026-07-28"}


def test_a_handshake_is_finished_and_its_session_ended(fake: FakeProvider) -> None:
    begun = Reply(200, BEGUN, {"mcp-session-id": "s-1"})
    fake.manner = Manner(reply=server(**{**LEGACY, "initialize": begun, "DELETE": Reply(200, b"")}))
    found = check(f"{fake.url}/mcp")
    assert found.detail["facts"] == {"protocol": "2025-06-18", "server": "tools"}
    assert [one.json["method"] if one.body else one.method for one in fake.seen] == [
        *("server/discover", "initialize", "notifications/initialized", "ping", "DELETE")
    ]
    assert [one.headers.get("mcp-session-id") for one in fake.seen] == [None, None, "s-1", "s-1", "s-1"]


@pytest.mark.parametrize("kind", ["http", "json", "sse"])
def test_the_official_servers_work(kind: str, tmp_path: Path) -> None:
    with mcp_servers.running(kind, tmp_path / "gate") as url:
        good, bad = check(url, mcp_servers.TOKEN), check(url)
    assert (good.category.value, bad.category.value) == ("valid", "invalid")
    assert good.latency_ms < validation.TIMEOUT_SECONDS * 1000


def test_a_server_that_does_not_answer_is_given_up(fake: FakeProvider) -> None:
    fake.manner = Manner(delay=1, reply=server(server_discover=DISCOVERED))
    assert check(fake.url, timeout=0.2).category.value == "timeout"


def test_a_name_that_is_none_and_a_certificate_of_nobodys_are_told_apart(fake: FakeProvider, names: Resolver) -> None:
    assert "its name does not exist" in check("https://nowhere.test/mcp").message
    assert "certificate" in check(fake.url.replace("http:", "https:")).message


@pytest.mark.parametrize(
    "fields",
    [
        {"header": "Host"},
        {"header": "Mcp-Session-Id"},
        {"header": "content-length"},
        {"header": "X-Forwarded-For"},
        {"header": "X Y"},
        {"header": "X-Key", "token": ""},
    ],
)
def test_a_header_that_carries_no_token_is_refused(fake: FakeProvider, fields: dict[str, Any]) -> None:
    assert check(fake.url, **fields).category.value == "malformed"
    assert fake.seen == []


# --- Where calls go ------------------------------------------------------------------------------


def asked(relay: Relay, url: str, method: str = "POST", path: str = "/", **fields: str) -> Asked:
    opened = {name: Secret(value) for name, value in {"url": url, "token": TOKEN, **fields}.items()}
    base = "https://digital.example.com/gateway/mcp/notes"
    return Asked(registry.get("mcp"), POST, method, path, {}, b"{}", {}, relay, opened, base)


async def whole(relay: Relay, one: Asked) -> bytes:
    answer = await Mcp().answer(one)
    try:
        return b"".join([piece async for piece in answer.chunks()])
    finally:
        await answer.close()


@pytest.mark.parametrize(
    ("rest", "path", "there"),
    [
        ("/mcp", "/", "/mcp"),
        ("", "/", "/"),
        ("/mcp?team=7", "/", "/mcp?team=7"),
        ("/mcp?team=7", "/?x=%2F", "/mcp?team=7&x=%2F"),
        ("/a/sse", "/~/messages/?s=%41", "/messages/?s=%41"),
    ],
)
async def test_paths_are_those_of_the_server(
    relay: Relay, fake: FakeProvider, rest: str, path: str, there: str
) -> None:
    fake.manner = Manner(body=b"{}")
    await whole(relay, asked(relay, fake.url + rest, path=path))
    assert [seen.path for seen in fake.seen] == [there]


@pytest.mark.parametrize("addresses", LEADS_INSIDE)
async def test_a_name_that_leads_inside_is_not_called(relay: Relay, names: Resolver, addresses: list[str]) -> None:
    names({"provider.test": [addresses]})
    with pytest.raises(SecurityViolation):
        await whole(relay, asked(relay, "https://provider.test/mcp"))
    found = check("https://provider.test/mcp")
    assert (found.category.value, "not on the public internet" in found.message) == ("network", True)


async def test_a_name_that_changes_its_mind_is_asked_once(relay: Relay, names: Resolver) -> None:
    lookups = names({"provider.test": [[PUBLIC], ["127.0.0.1"]]})
    with pytest.raises(BLOCKED, match=PUBLIC):
        await whole(relay, asked(relay, "https://provider.test/mcp"))
    assert lookups == {"provider.test": 1}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(relay: Relay, fake: FakeProvider, status: int) -> None:
    with FakeProvider() as sink:
        fake.manner = Manner(status=status, headers={"location": f"{sink.url}/steal"})
        with pytest.raises(ProviderUnavailable, match="redirect"):
            await whole(relay, asked(relay, fake.url))
        assert sink.seen == []


async def test_a_host_that_is_named_no_more_is_not_called(relay: Relay, fake: FakeProvider, settings: Any) -> None:
    settings.DIGITALME_PRIVATE_HOSTS = frozenset({"127.0.0.1:1"})
    with pytest.raises(SecurityViolation):
        await whole(relay, asked(relay, fake.url))
    assert fake.seen == []


# --- The older transport's streams -----------------------------------------------------------------


class _Wire:
    """A server that answers with these pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.status, self.headers = 200, [(b"content-type", b"text/event-stream")]
        self._pieces = pieces

    async def send(self, *arguments: Any) -> "_Wire":
        return self

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece

    async def read(self, limit: int) -> bytes:
        return b"".join(self._pieces)

    async def close(self) -> None:
        """Nothing is open."""


async def led(*pieces: bytes, method: str = "GET") -> bytes:
    wire: Any = _Wire(*pieces)
    return await whole(wire, asked(wire, "https://provider.test/a/sse?k=1", method))


def lines(stream: bytes) -> list[bytes]:
    return [line for line in re.split(rb"\r\n|\n|\r", stream) if line]


@pytest.mark.parametrize(
    ("named", "here"),
    [
        (b"/messages/?session_id=1", b"/gateway/mcp/notes/~/messages/?session_id=1"),
        (b"messages?s=1", b"/gateway/mcp/notes/~/a/messages?s=1"),
        (b"?s=1", b"/gateway/mcp/notes/~/a/sse?s=1"),
        (b"https://provider.test/m%2F1", b"/gateway/mcp/notes/~/m%2F1"),
    ],
)
async def test_the_address_for_messages_leads_here(named: bytes, here: bytes) -> None:
    stream = b": ping\r\n\r\nevent: endpoint\r\ndata: " + named + b"\r\n\r\ndata: {}\r\n\r\nid: 7\r\n"
    turned = await led(stream)
    assert turned == b": ping\r\n\r\nevent: endpoint\ndata: " + here + b"\n\ndata: {}\r\n\r\nid: 7\r\n"
    for cut in range(1, len(stream)):
        assert lines(await led(stream[:cut], stream[cut:])) == lines(turned), "wherever it is cut"


@pytest.mark.parametrize(
    "named",
    [
        b"https://evil.test/m",
        b"//evil.test/m",
        b"http://provider.test/m",
        b"https://provider.test:444/m",
        b"https://provider.test@evil.test/m",
        b"https://[::1/m",
        "https://provider.tést/m".encode(),
    ],
)
async def test_an_address_for_messages_elsewhere_ends_the_stream(named: bytes) -> None:
    with pytest.raises(ProviderUnavailable):
        await led(b"data: {}\n\nevent: endpoint\ndata: " + named + b"\n\n")


async def test_an_answer_to_a_message_passes_as_it_is() -> None:
    stream = b"event: endpoint\ndata: /m\n\n"
    assert await led(stream, method="POST") == stream


async def test_an_event_without_end_is_cut_off() -> None:
    with pytest.raises(ProviderUnavailable):
        await led(*[b"x" * 1024 * 1024] * 9)
