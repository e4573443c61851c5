"""MCP through the gateway: the official client against the official server, in all ways that they speak."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import pytest
from django.core.management.base import CommandError
from mcp import Client, MCPError
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from digitalme.accounts.models import Membership, Team
from tests import mcp_servers
from tests.gateway.conftest import Person, WebProcess, command, until, web_process
from tests.mcp_servers import STEPS, TOKEN

# The web process is another one: what it is to see must be committed.
T = TypeVar("T")
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that lets the tool `count` go on."""
    return tmp_path_factory.mktemp("gate") / "open"


@pytest.fixture(autouse=True)
def _private_hosts(settings: Any) -> None:
    """What the web process allows, the command that stores a key must allow too."""
    settings.DIGITALME_PRIVATE_HOSTS = frozenset({"127.0.0.1"})


@pytest.fixture(autouse=True)
def _closed(gate: Path) -> None:
    gate.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def toolboxes(gate: Path) -> Iterator[dict[str, str]]:
    """The addresses of the servers, by their kind."""
    with (
        mcp_servers.running("http", gate) as http,
        mcp_servers.running("json", gate) as plain,
        mcp_servers.running("sse", gate) as sse,
    ):
        yield {"http": http, "json": plain, "sse": sse}


@pytest.fixture(scope="module")
def web(django_db_setup: None, django_db_blocker: Any) -> Iterator[WebProcess]:
    """A web process whose operator lets servers on this machine be named."""
    with django_db_blocker.unblock(), web_process("", DIGITALME_PRIVATE_HOSTS="127.0.0.1") as process:
        yield process


def connect(person: Person, url: str, *owner: str, label: str = "", **fields: str) -> None:
    """Store a server's address with its token."""
    given = json.dumps({"url": url, "token": TOKEN, **fields})
    command("set_key", "mcp", *(owner or ("--user", person.user.email)), "--label", label, "--json", stdin=given)


def use(
    web: WebProcess,
    person: Person,
    deed: Callable[[Client], Awaitable[T]],
    path: str = "",
    *,
    mode: Any = "auto",
    headers: dict[str, str] | None = None,
) -> T:
    """Do something with the official client, given our address and token."""

    async def doing() -> T:
        async with httpx2.AsyncClient(headers={**person.headers, **(headers or {})}, timeout=30) as http:
            way = streamable_http_client(web.gateway("mcp", path), http_client=http)
            async with Client(way, mode=mode) as client:
                return await deed(client)

    return asyncio.run(doing())


def names(person: Person) -> set[tuple[str, str, str]]:
    """What is recorded: operation, tool, status."""
    return {(one.operation, one.model, one.status) for one in person.records()}


async def everything(client: Client) -> dict[str, Any]:
    """List the tools and call one."""
    tools = {tool.name for tool in (await client.list_tools()).tools}
    answer = await client.call_tool("add", {"a": 2, "b": 3})
    return {"version": client.protocol_version, "tools": tools, "answer": answer.structured_content}


async def came_in(client: Client) -> dict[str, str]:
    """Return the headers that reached the server."""
    (content,) = (await client.call_tool("headers", {})).content
    told: dict[str, str] = json.loads(content.text)  # type: ignore[union-attr]
    return told


async def add(client: Client) -> Any:
    return (await client.call_tool("add", {"a": 2, "b": 3})).structured_content


def refusal(web: WebProcess, person: Person, path: str = "") -> MCPError:
    """Return the error that the official client raises."""
    with pytest.raises((MCPError, ExceptionGroup)) as raised:
        use(web, person, add, path)
    found: BaseException = raised.value
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, MCPError)
    return found


TOOLS = {"add", "headers", "fail", "count"}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("kind", ["http", "json"])
def test_tools_are_listed_and_called(
    mode: str, kind: str, web: WebProcess, toolboxes: dict[str, str], alice: Person
) -> None:
    connect(alice, toolboxes[kind])
    version = "2026-07-28" if mode == "auto" else "2025-11-25"
    assert use(web, alice, everything, mode=mode) == {"version": version, "tools": TOOLS, "answer": {"result": 5}}
    begun = ("server/discover", "", "ok") if mode == "auto" else ("initialize", "", "ok")
    until(lambda: names(alice) >= {begun, ("tools/list", "", "ok"), ("tools/call", "add", "ok")})
    assert {one.cost for one in alice.records()} == {0}
    charged = {one.operation: one.charged_requests for one in alice.records()}
    assert charged["tools/call"] == charged["tools/list"] == charged[begun[0]] == 1
    assert not any(charged.get(aside) for aside in ("notifications/initialized", "end session"))


def test_a_session_is_ended_at_the_server(web: WebProcess, toolboxes: dict[str, str], alice: Person) -> None:
    connect(alice, toolboxes["http"])
    use(web, alice, add, mode="legacy")
    until(lambda: ("end session", "", "ok") in names(alice))
    begin = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }
    sent = {**alice.headers, "accept": "application/json, text/event-stream"}
    with httpx2.Client(headers=sent, timeout=30) as http:
        session = http.post(web.gateway("mcp"), json=begin).headers["mcp-session-id"]
        of_it = {"mcp-session-id": session, "mcp-protocol-version": "2025-06-18"}
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        assert http.post(web.gateway("mcp"), json=ping, headers=of_it).status_code == 200
        assert http.delete(web.gateway("mcp"), headers=of_it).status_code == 200
        assert http.post(web.gateway("mcp"), json=ping, headers=of_it).status_code == 404


def test_a_stream_ends_with_the_caller_who_listens(web: WebProcess, toolboxes: dict[str, str], alice: Person) -> None:
    connect(alice, toolboxes["sse"])
    with (
        httpx2.Client(headers=alice.headers, timeout=30) as http,
        http.stream("GET", web.gateway("mcp"), headers={"accept": "text/event-stream"}) as answer,
    ):
        assert next(answer.iter_text()).startswith("event: endpoint")
        assert alice.records() == [], "it goes on"
    record = alice.record("ok")
    assert (record.operation, record.charged_requests) == ("listen", 1)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_progress_arrives_while_the_tool_still_works(
    mode: str, web: WebProcess, toolboxes: dict[str, str], alice: Person, gate: Path
) -> None:
    connect(alice, toolboxes["http"])
    told: list[float] = []

    async def count(client: Client) -> str:
        async def stepped(progress: float, total: float | None, message: str | None) -> None:
            told.append(progress)
            gate.touch()  # only now does the tool go on

        (content,) = (await client.call_tool("count", {}, progress_callback=stepped)).content
        return content.text  # type: ignore[union-attr]

    assert use(web, alice, count, mode=mode) == "done"
    assert told == [1, 2, STEPS]


def test_the_older_transport_posts_its_messages_here(web: WebProcess, toolboxes: dict[str, str], alice: Person) -> None:
    connect(alice, toolboxes["sse"], label="old")

    async def doing() -> Any:
        async with Client(sse_client(web.gateway("mcp", "/old"), headers=alice.headers), mode="legacy") as client:
            return await everything(client), await came_in(client)

    told, headers = asyncio.run(doing())
    assert (told["tools"], told["answer"]) == (TOOLS, {"result": 5})
    assert headers["authorization"] == "Bearer THE TOKEN"
    until(lambda: ("tools/call", "add", "ok") in names(alice))


def test_the_server_sees_its_token_and_none_of_ours(web: WebProcess, toolboxes: dict[str, str], alice: Person) -> None:
    connect(alice, toolboxes["http"])
    connect(alice, toolboxes["http"], label="own-header", header="X-Tool-Key")
    more = {"Origin": "https://evil.test", "Cookie": "a=b", "X-Forwarded-For": "10.0.0.1", "X-Tool-Key": "mine"}
    bearer = use(web, alice, came_in, headers=more)
    named = use(web, alice, came_in, "/own-header", headers=more)
    assert bearer["authorization"] == "Bearer THE TOKEN"
    assert (named["x-tool-key"], named.get("authorization")) == ("THE TOKEN", None)
    for seen in (bearer, named):
        assert alice.token not in json.dumps(seen)
        assert not {"origin", "cookie", "x-forwarded-for"} & set(seen)
        assert seen["host"] == toolboxes["http"].split("/")[2]
        assert (seen["mcp-method"], seen["mcp-name"]) == ("tools/call", "headers")


def test_a_tool_that_fails_is_an_answer_and_an_unknown_method_a_failure(
    web: WebProcess, toolboxes: dict[str, str], alice: Person
) -> None:
    connect(alice, toolboxes["http"])

    async def fail(client: Client) -> bool | None:
        return (await client.call_tool("fail", {})).is_error

    assert use(web, alice, fail) is True
    until(lambda: ("tools/call", "fail", "ok") in names(alice))
    message = {"jsonrpc": "2.0", "id": 1, "method": "no/such<method>", "params": {"_meta": META}}
    sent = {**alice.headers, "accept": "application/json, text/event-stream", "mcp-protocol-version": "2026-07-28"}
    httpx2.post(web.gateway("mcp"), json=message, headers={**sent, "mcp-method": "no/such<method>"}, timeout=30)
    until(lambda: any(one.operation == "no/suchmethod" and one.status == "failed" for one in alice.records()))


META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


# --- Whose server --------------------------------------------------------------------------------


def test_a_teams_server_serves_its_members_and_nobody_else(
    web: WebProcess, toolboxes: dict[str, str], alice: Person, person: Callable[[], Person]
) -> None:
    team = Team.objects.create(slug="toolers", name="Toolers")
    Membership.objects.create(team=team, user=alice.user)
    connect(alice, toolboxes["http"], "--team", "toolers", label="shared")
    assert use(web, alice, add, "/shared") == {"result": 5}
    assert "no usable MCP server key with the label 'shared'" in str(refusal(web, person(), "/shared"))


def test_a_label_of_somebody_else_does_not_exist(
    web: WebProcess, toolboxes: dict[str, str], alice: Person, person: Callable[[], Person]
) -> None:
    connect(alice, toolboxes["http"], label="tools")
    stranger = person()
    assert "no usable MCP server key with the label 'tools'" in str(refusal(web, stranger, "/tools"))
    assert {one.status for one in stranger.records()} == {"refused"}


def test_the_house_has_no_server(
    toolboxes: dict[str, str], alice: Person, start_web: Callable[..., WebProcess]
) -> None:
    with pytest.raises(CommandError, match="the house has none"):
        connect(alice, toolboxes["http"], "--system")
    named = {"DIGITALME_PRIVATE_HOSTS": "127.0.0.1", "DIGITALME_SYSTEM_KEY_MCP": toolboxes["http"]}
    assert "no usable MCP server key" in str(refusal(start_web(toolboxes["http"], **named), alice))


# --- Where it may be -----------------------------------------------------------------------------


def test_a_host_that_the_operator_names_no_more_is_not_reached(
    toolboxes: dict[str, str], alice: Person, start_web: Callable[..., WebProcess], settings: Any
) -> None:
    settings.DIGITALME_PRIVATE_HOSTS = frozenset({"127.0.0.1"})
    connect(alice, toolboxes["http"])
    found = refusal(start_web("", DIGITALME_PRIVATE_HOSTS=""), alice)
    assert "must begin with https://" in str(found)
    assert alice.record("failed").error_type == "SecurityViolation"
