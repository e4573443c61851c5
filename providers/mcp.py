"""MCP servers: each key brings the address of its own, which is reached over HTTP alone."""

import json
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urljoin, urlsplit

from digitalme.errors import InvalidKeyFormat, ProviderUnavailable, SecurityViolation, ValidationTimeout
from providers import auth, jsonrpc, outbound
from providers.adapter import Adapter, Answer, Asked, Headers
from providers.addresses import own_address
from providers.manifest import Manifest
from providers.outbound import Fetched
from providers.outcomes import Category, Outcome, plain
from providers.registry import Provider
from providers.secrets import Secret

URL, TOKEN, HEADER = "url", "token", "header"
# Paths below it are at the server's origin: the older transport names one for its messages.
ELSEWHERE = "/~"
MODERN, HANDSHAKE = "2026-07-28", "2025-06-18"
# What an own header must not be: it steers the connection, the protocol, or says who calls.
_TAKEN = re.compile(
    "accept.*|connection|content-.*|cookie|expect|forwarded|host|keep-alive|last-event-id|origin|referer|te|trailer"
    "|transfer-encoding|upgrade|user-agent|via|(mcp|proxy|sec|x-digitalme|x-forwarded)-.*"
)
_UNSUPPORTED_VERSION = -32022


class Mcp(Adapter):
    """Forwards to the server of each key, and finds out whether it speaks MCP."""

    own_destination = True
    ends_with_caller = True

    def destination(self, provider: Provider, fields: Mapping[str, Secret]) -> tuple[str, ...]:
        """Return the server's address; its query steers nothing but the server itself."""
        return (fields[URL].reveal().partition("?")[0],)

    def check_fields(self, manifest: Manifest, fields: Mapping[str, Secret]) -> None:
        """Raise InvalidKeyFormat unless the address may be reached and the header may carry a token."""
        try:
            own_address(fields[URL].reveal())
        except SecurityViolation as problem:
            raise InvalidKeyFormat(problem.message, field=URL) from None
        if HEADER in fields:
            if _TAKEN.fullmatch(fields[HEADER].reveal().lower()):
                raise InvalidKeyFormat("This header has a meaning of its own and cannot carry a token.", field=HEADER)
            if TOKEN not in fields:
                raise InvalidKeyFormat("Enter the token that this header carries, or leave it empty.", field=TOKEN)

    def check(self, provider: Provider, fields: Mapping[str, Secret], *, timeout: float) -> Outcome:
        """Ask the server what it can do, as clients of today do, then as those before them did."""
        probe = _Probe(provider, fields, timeout)
        try:
            return _outcome(probe)
        except ValidationTimeout:
            return Outcome(Category.TIMEOUT, "The MCP server did not answer in time. Try again later.")
        except ProviderUnavailable as problem:
            why = _UNREACHED.get(str(problem.data.get("reason")), "cannot be reached from here")
            return Outcome(Category.NETWORK, f"The MCP server {why}. The token was not judged.", dict(problem.data))

    async def answer(self, asked: Asked) -> Answer:
        """Forward a message, or listen; of the older transport's streams, have the address for messages lead here."""
        there, rest = _reached(asked.provider, asked.fields)
        headers = {**asked.headers}
        _put_credential(asked.fields, headers)
        path = _path(rest, asked.path)
        answer = await asked.wire.send(there, asked.method, path, headers, asked.body)
        if asked.method != "GET" or not _is_stream(answer.headers):
            return answer
        return _Led(answer, there.upstream + path, urlsplit(asked.base).path + ELSEWHERE)


_UNREACHED = {
    "dns": "has no address: its name does not exist",
    "tls": "has a certificate that cannot be trusted",
}


def _reached(provider: Provider, fields: Mapping[str, Secret]) -> tuple[Provider, str]:
    """Return the provider at the key's server, and what follows its origin in the address."""
    own = own_address(fields[URL].reveal())
    return replace(provider, upstream=own.origin, operator_upstream=own.private), own.rest


def _put_credential(fields: Mapping[str, Secret], headers: dict[str, str]) -> None:
    """Put the token where the server wants it, in the place of whatever the caller's own was."""
    for name in ("authorization", "x-api-key"):
        headers.pop(name, None)
    if TOKEN not in fields:
        return
    value = auth.printable(fields[TOKEN])
    if HEADER in fields:
        headers[auth.printable(fields[HEADER]).lower()] = value
    else:
        headers["authorization"] = f"Bearer {value}"


def _path(rest: str, path: str) -> str:
    """Return a path as it is at the server: / is the address itself."""
    if path.startswith(f"{ELSEWHERE}/"):
        return path[len(ELSEWHERE) :]
    base, _, fixed = rest.partition("?")
    query = "&".join(filter(None, (fixed, path.partition("?")[2])))
    return f"{base}?{query}" if query else base


def _is_stream(headers: Headers) -> bool:
    return any(name.lower() == b"content-type" and b"text/event-stream" in value for name, value in headers)


class _Led:
    """A stream in which the address that messages are to be sent to leads through this server."""

    def __init__(self, answer: Answer, url: str, base: str) -> None:
        self.status, self.headers = answer.status, answer.headers
        self._answer, self._url, self._base = answer, url, base

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield each event as soon as it is complete."""
        held = b""
        async for chunk in self._answer.chunks():
            events, held = jsonrpc.split(held + chunk)
            if events:
                yield b"".join(map(self._turned, events))
            if len(held) > jsonrpc.MAX_EVENT:
                raise ProviderUnavailable("The MCP server sent an event that is too large.", reason="cut")
        if held:
            yield held

    def _turned(self, event: bytes) -> bytes:
        if b"endpoint" not in event:
            return event
        name, data = jsonrpc.read(event)
        return b"event: endpoint\ndata: " + self._led(data) + b"\n\n" if name == "endpoint" else event

    def _led(self, data: bytes) -> bytes:
        """Return where the address is called here. At another origin it is not: no client would ask whether to
        send its access token there."""
        try:
            parts = urlsplit(urljoin(self._url, data.decode("ascii")))
        except ValueError:
            parts = urlsplit("")
        here = urlsplit(self._url)
        if (parts.scheme, parts.netloc.lower()) != (here.scheme, here.netloc) or not data.isascii():
            raise ProviderUnavailable("The MCP server wants its messages at another server.", reason="cut")
        query = f"?{parts.query}" if parts.query else ""
        return f"{self._base}{parts.path or '/'}{query}".encode()

    async def read(self, limit: int) -> bytes:
        """Return the whole body; a stream is passed on in pieces instead."""
        return await self._answer.read(limit)

    async def close(self) -> None:
        """Let go of the connection."""
        await self._answer.close()


# --- Whether a server works ----------------------------------------------------------------------


class _Probe:
    """Asks one server; every question is told in raw HTTP, since an SDK hides the status."""

    def __init__(self, provider: Provider, fields: Mapping[str, Secret], timeout: float) -> None:
        there, rest = _reached(provider, fields)
        self._url, self._operator = there.upstream + rest, there.operator_upstream
        self.credential: dict[str, str] = {}
        _put_credential(fields, self.credential)
        self._deadline = time.monotonic() + timeout
        self.session: dict[str, str] = {}

    def post(self, method: str, params: Mapping[str, Any] | None, **headers: str) -> Fetched:
        """Send one message; one without params that notifies expects no answer."""
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        if not method.startswith("notifications/"):
            message["id"] = 1
        if params is not None:
            message["params"] = params
        kind = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
        return self._send("POST", {**kind, **headers}, json.dumps(message).encode(), _is_answered)

    def listen(self) -> Fetched:
        """Open the older transport's stream and read its first event."""
        return self._send("GET", {"accept": "text/event-stream"}, None, lambda body: bool(_first_event(body)))

    def leave(self) -> None:
        """End the session, if there is one."""
        if self.session:
            self._send("DELETE", {}, None, None)

    def _send(
        self, method: str, headers: Mapping[str, str], body: bytes | None, enough: Callable[[bytes], bool] | None
    ) -> Fetched:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise ValidationTimeout("The server did not answer in time.")
        sent = {"accept-encoding": "identity", **headers, **self.session, **self.credential}
        return outbound.fetch(
            method, self._url, headers=sent, body=body, timeout=left, operator=self._operator, enough=enough
        )


def _is_answered(body: bytes) -> bool:
    """Whether a stream has the answer: servers need not end it."""
    return body.lstrip()[:1] not in (b"{", b"[") and next(jsonrpc.answers(body, stream=True), None) is not None


def _first_event(body: bytes) -> tuple[str, bytes] | None:
    told = (jsonrpc.read(event) for event in jsonrpc.split(body)[0])
    return next((one for one in told if one[1]), None)


def _answer(found: Fetched) -> Mapping[str, Any]:
    """Return the answer to a message, empty if there is none."""
    stream = "text/event-stream" in found.headers.get("content-type", "")
    return next(jsonrpc.answers(found.body, stream=stream), {})


def _outcome(probe: _Probe) -> Outcome:
    client = {"name": "DigitalMe", "version": "1"}
    meta = "io.modelcontextprotocol/"
    about = {f"{meta}protocolVersion": MODERN, f"{meta}clientInfo": client, f"{meta}clientCapabilities": {}}
    found = probe.post(
        "server/discover", {"_meta": about}, **{"mcp-protocol-version": MODERN, "mcp-method": "server/discover"}
    )
    if refused := _refusal(found, probe):
        return refused
    if modern := _modern(_answer(found)):
        return modern
    found = probe.post("initialize", {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": client})
    if refused := _refusal(found, probe):
        return refused
    answer = _answer(found)
    result = answer.get("result")
    if isinstance(result, Mapping) and "protocolVersion" in result:
        return _greeted(probe, found, result)
    if answer:
        return Outcome(
            Category.UNAVAILABLE, "An MCP server answers here, but it refuses to begin.", {"status": found.status}
        )
    return _older(probe, found)


def _modern(answer: Mapping[str, Any]) -> Outcome | None:
    """Read a server's answer to server/discover; None if it does not know the question."""
    result, error = answer.get("result"), answer.get("error")
    if isinstance(result, Mapping) and isinstance(result.get("supportedVersions"), list):
        versions = [one for one in result["supportedVersions"] if isinstance(one, str)]
        return _works(max(versions, default=""), result.get("serverInfo"))
    if isinstance(error, Mapping) and error.get("code") == _UNSUPPORTED_VERSION:
        data = error.get("data")
        known = data.get("supported") if isinstance(data, Mapping) else None
        return _works(
            max((one for one in known if isinstance(one, str)), default="") if isinstance(known, list) else ""
        )
    return None


def _greeted(probe: _Probe, found: Fetched, result: Mapping[str, Any]) -> Outcome:
    """Finish the handshake, ask for a sign of life, and leave."""
    version = str(result["protocolVersion"])[:32]
    probe.session = {"mcp-protocol-version": version} if version.isascii() and version.isprintable() else {}
    if "mcp-session-id" in found.headers:
        probe.session["mcp-session-id"] = found.headers["mcp-session-id"]
    probe.post("notifications/initialized", None)
    alive = probe.post("ping", None)
    if "mcp-session-id" in probe.session:
        probe.leave()
    return _refusal(alive, probe) or _works(version, result.get("serverInfo"))


def _older(probe: _Probe, found: Fetched) -> Outcome:
    """Try the transport of 2024: a stream whose first event says where messages go."""
    if found.status >= 500:
        return _failing(found.status)
    found = probe.listen()
    if refused := _refusal(found, probe):
        return refused
    if found.status >= 500:
        return _failing(found.status)
    event = _first_event(found.body) if found.status == 200 else None
    if event and event[0] == "endpoint":
        return _works("2024-11-05, over SSE")
    return Outcome(
        Category.MALFORMED,
        "There is no MCP server at this address. Check its path: most end with /mcp or /sse.",
        {"status": found.status},
    )


def _works(version: str, server: object = None) -> Outcome:
    facts = {"protocol": plain(version)}
    facts["server"] = plain(server.get("name")) if isinstance(server, Mapping) else ""
    told = {label: value for label, value in facts.items() if value}
    return Outcome(Category.VALID, "The MCP server answers.", {"facts": told} if told else {})


def _failing(status: int) -> Outcome:
    category = Category.TIMEOUT if status == 504 else Category.UNAVAILABLE
    return Outcome(category, "The MCP server has a problem of its own right now. Try again later.", {"status": status})


def _refusal(found: Fetched, probe: _Probe) -> Outcome | None:
    """Return what a status means that says the same to every question, None for any other."""
    detail: dict[str, Any] = {"status": found.status}
    if "retry-after" in found.headers:
        detail["retry_after"] = found.headers["retry-after"][:32]
    if found.status == 401:
        if not probe.credential:
            return Outcome(
                Category.INVALID, "This MCP server asks for a token. Enter the one that it gave you.", detail
            )
        if "expired" in found.headers.get("www-authenticate", "").lower():
            return Outcome(Category.EXPIRED, "The token has expired. Make a new one at the MCP server.", detail)
    if 300 <= found.status < 400:
        return Outcome(
            Category.MALFORMED,
            "The server answers with a redirect, which is never followed. Enter the address that it leads to.",
            detail,
        )
    told = _BY_STATUS.get(found.status)
    return Outcome(*told, detail) if told else None


_BY_STATUS = {
    401: (
        Category.INVALID,
        "The MCP server does not accept this token. It was mistyped, revoked or deleted: make a new one there.",
    ),
    402: (Category.QUOTA, "The token is genuine, but its account at the MCP server has no credit left."),
    403: (
        Category.LIMITED,
        "The MCP server knows who asks but refuses to say what it can do. Give the token more rights there.",
    ),
    429: (Category.RATE_LIMITED, "The MCP server takes no more requests right now. Try again later."),
}
