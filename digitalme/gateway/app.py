"""The gateway's HTTP face: a plain ASGI application that asgi.py calls before Django."""

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from apikeys import terms
from digitalme import throttling
from digitalme.accounts import tokens
from digitalme.database import uuid7
from digitalme.errors import DigitalMeError, InvalidRequest, NotFound, RateLimited, Unauthenticated
from digitalme.gateway import bodies, fallback, relay, tickets, upgrades
from digitalme.gateway.admission import NOTHING, Admitted, Call
from digitalme.gateway.bodies import ClientLeft, Receive, Upload
from digitalme.gateway.progress import Progress
from digitalme.gateway.relay import Request
from digitalme.gateway.runtime import Runtime
from providers import metering, payloads, refusals, registry
from providers.manifest import Inlet, Operation
from providers.metering import Estimate
from providers.placement import Incoming, in_body, take_from_address, take_from_body
from providers.registry import Provider
from quotas.ledger import Granted

log = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
PREFIX = "/gateway/"
MAX_TAG = 100
LAST_WORD_SECONDS = 1
NO_TOKEN = Unauthenticated(
    "There is no valid access token in this request. Put your dm_ token where the SDK's API key goes."
)
# A server repeats the request in its answer to TRACE, key included; CONNECT asks for a tunnel.
_NEVER = frozenset({"TRACE", "TRACK", "CONNECT"})
_UNSAFE_PATH = re.compile(r"(^|/)\.{1,2}(/|$)|\\|[\x00-\x1f\x7f]")


class GatewayApp:
    """Takes lifespan events and every request under /gateway/."""

    def __init__(self) -> None:
        self._starting: asyncio.Future[Runtime] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await self._handle(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        """Start before the first request, so that a bad key ring stops the server; settle what runs
        before the last."""
        await receive()
        try:
            runtime = await self._started()
        except Exception as problem:
            await send({"type": "lifespan.startup.failed", "message": str(problem)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await runtime.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _started(self) -> Runtime:
        """Return the runtime, started once; a server without lifespan events starts it by its first call."""
        if self._starting is None:
            self._starting = asyncio.ensure_future(Runtime.start())
        return await self._starting

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if upgrades.asked_for(scope, headers):
            await upgrades.refuse(scope, send)
            return
        runtime = await self._started()
        arrival = _arrive(scope, headers)
        address = throttling.address(_address(scope))
        try:
            throttling.take(("gateway.address", address))
        except RateLimited as refusal:
            await _turn_away(arrival, refusal, send)
            return
        if arrival.provider is not None and arrival.provider.manifest.inlets:
            await _look_further(arrival, arrival.provider, scope, headers, receive)
        if not arrival.digest and tickets.PARAMETER in arrival.target:
            _redeem(arrival)
        if not arrival.digest:
            await _turn_away(arrival, NO_TOKEN, send)
            return
        try:
            throttling.take(("gateway.token", arrival.digest), ("gateway.user", runtime.user_of(arrival.digest)))
        except RateLimited as refusal:
            await _turn_away(arrival, refusal, send)
            return
        call, request = await _read(arrival, scope, headers, receive)
        attempt: Call | None = call
        while attempt is not None:
            attempt = await _attempt(runtime, attempt, request, receive, send)


async def _attempt(runtime: Runtime, call: Call, request: Request, receive: Receive, send: Send) -> Call | None:
    """Admit a call and carry it out. Returns the call to make in its place where an own key failed, nothing has been
    answered yet and its owner agreed to that."""
    try:
        admitted = await runtime.admit(call)
    except DigitalMeError as refusal:
        if again := fallback.instead(call, refusal):
            return again
        told = [*_own_headers(call), *_limit_headers(refusal), *fallback.told(call, refusal)]
        await _refuse(call, refusal, send, told)
        return None
    return await _carry_out(runtime, admitted, request, receive, send)


async def _carry_out(
    runtime: Runtime, admitted: Admitted, request: Request, receive: Receive, send: Send
) -> Call | None:
    """Relay the call and hand in its outcome on every way out; returns as `_attempt`."""
    progress, headers = Progress(admitted), _own_headers(admitted.call, admitted)
    runtime.begin(progress)
    try:
        work = _forward(progress, request, runtime, send, headers)
        if request.watched or admitted.call.estimate.stream:
            await bodies.until_client_leaves(work, receive, request.upload)
        else:
            await work
    except ClientLeft:
        pass  # which is how a call counts that says nothing else
    except DigitalMeError as problem:
        again = fallback.instead(admitted.call, problem, admitted)
        if again is None or not progress.ended:
            progress.end("refused" if isinstance(problem, InvalidRequest) else "failed", problem.code.value)
        if again is not None:
            return again
        await _refuse(admitted.call, problem, send, headers + fallback.told(admitted.call, problem, admitted))
    except asyncio.CancelledError:
        if progress.revoked is None:
            progress.end("aborted", "shutdown")
            raise
        progress.end("aborted", "revoked")
        await _tell_revoked(progress, progress.revoked, send, headers)
    except Exception as fault:
        progress.end("failed", type(fault).__name__)
        raise
    finally:
        runtime.settle(progress.outcome())
    return None


async def _forward(
    progress: Progress, request: Request, runtime: Runtime, send: Send, headers: list[tuple[bytes, bytes]]
) -> None:
    """Relay the call, after the moment that it waits where a limit is used too fast."""
    if wait := progress.admitted.granted.wait:
        await asyncio.sleep(wait)
        progress.started = time.perf_counter()
    await relay.forward(progress, request, runtime.upstream, send, headers)


async def _tell_revoked(
    progress: Progress, reason: DigitalMeError, send: Send, headers: list[tuple[bytes, bytes]]
) -> None:
    """Tell the caller why the call ends: by an error event in a running stream, else by a refusal. One who
    has stopped reading is not waited for: what is not complete is broken off by the server."""
    if progress.task:
        progress.task.uncancel()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LAST_WORD_SECONDS):
            if progress.passing:
                return
            if progress.streaming:
                event = relay.error_event(progress, reason)
                await send({"type": "http.response.body", "body": event, "more_body": False})
            else:
                await _refuse(progress.admitted.call, reason, send, headers)


@dataclass(slots=True)
class _Arrival:
    """What a request's address and headers tell. `path` names the operation; `target` is the path with query
    as it goes upstream. `body` is None until it is read."""

    slug: str
    provider: Provider | None
    path: str
    target: str
    digest: str
    problem: DigitalMeError | None = None
    body: bytes | None = None
    came_in: Inlet | None = None
    label: str = ""


def _arrive(scope: Scope, headers: Mapping[bytes, bytes]) -> _Arrival:
    slug, _, rest = scope["path"][len(PREFIX) :].partition("/")
    provider: Provider | None = None
    problem: DigitalMeError | None = None
    try:
        provider = registry.get(slug)
    except NotFound as found:
        problem = found
    label, path = terms.label_in(provider, f"/{rest}") if provider else ("", f"/{rest}")
    target = _upstream_path(scope, f"{slug}/{label}" if label else slug)
    return _Arrival(slug, provider, path, target, _token_digest(headers), problem, label=label)


async def _look_further(
    arrival: _Arrival, provider: Provider, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive
) -> None:
    """Cut the access token out of path, query and body, where the provider's SDKs put their key there.

    What is wrong with the body becomes the arrival's problem.
    """
    for inlet in provider.manifest.inlets:
        if inlet.place == "header" and not arrival.digest:
            token = _text(headers, inlet.name.encode())
            arrival.digest = tokens.digest(token) if tokens.looks_valid(token) else ""
    path, _, query = arrival.target.partition("?")
    kind = _text(headers, b"content-type")
    incoming = Incoming(path, query, kind)
    take_from_address(provider.manifest, incoming, tokens.looks_valid)
    if in_body(provider.manifest, kind) and scope["method"] not in ("GET", "HEAD"):
        try:
            incoming.body = await bodies.whole(headers, receive)
            take_from_body(provider.manifest, incoming, tokens.looks_valid)
        except InvalidRequest as found:
            arrival.problem = found
        arrival.body = incoming.body
    if incoming.path != path:
        arrival.path = unquote(incoming.path)
    if incoming.token:
        arrival.came_in = incoming.inlet
        arrival.digest = arrival.digest or tokens.digest(incoming.token)
    arrival.target = f"{incoming.path}?{incoming.query}" if incoming.query else incoming.path


def _redeem(arrival: _Arrival) -> None:
    """Take a ticket for the access token that it stands for."""
    path, _, query = arrival.target.partition("?")
    ticket, rest = tickets.taken_from(query)
    arrival.digest = tickets.redeem(ticket, arrival.slug, path)
    arrival.target = f"{path}?{rest}" if rest else path


async def _read(
    arrival: _Arrival, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive
) -> tuple[Call, Request]:
    """Read a request into a call. What is wrong with it becomes the call's `problem`, so that it is
    refused in one place, after the token told who is asking."""
    provider, operation = arrival.provider, None
    estimate, parsed, body, problem = NOTHING, None, arrival.body, arrival.problem
    upload: Upload | None = None
    try:
        if provider is not None and problem is None:
            operation = _match(provider, scope["method"], arrival.path)
            if body is None and bodies.handed_on(provider, operation):
                body, upload = await bodies.begun(headers, receive)
            elif body is None:
                body = await bodies.whole(headers, receive)
            if operation.dialect != "none":
                query = arrival.target.partition("?")[2]
                parsed = payloads.read(operation, body, _text(headers, b"content-type"), query)
                operation = metering.told(operation, parsed)
                estimate = metering.estimate(operation, parsed, len(body), arrival.path)
            else:
                estimate = Estimate(operation.requests, 0, 0, "", False)
    except DigitalMeError as found:
        problem = found
    call = Call(
        request_id=uuid7(),
        token_digest=arrival.digest,
        slug=arrival.slug[:64],
        provider=provider,
        operation=operation,
        estimate=estimate,
        tag=_text(headers, b"x-digitalme-tag")[:MAX_TAG],
        critical=_text(headers, b"x-digitalme-priority").strip().lower() == "critical",
        problem=problem,
        label=arrival.label,
        address=_address(scope),
        may_fall_back=fallback.asked_for(headers),
        repeatable=upload is None,
    )
    rewritten = provider is not None and (provider.manifest.rewrite is not None or provider.manifest.adapter)
    base = _site(scope["scheme"], _text(headers, b"host")) + PREFIX + call.place if rewritten else ""
    return call, Request(
        method=scope["method"],
        path_and_query=arrival.target,
        headers=scope["headers"],
        body=body or b"",
        parsed=parsed,
        came_in=arrival.came_in,
        base=base,
        upload=upload,
        watched=provider is not None and operation is not None and bodies.watched(provider, operation),
    )


@lru_cache(maxsize=256)
def _site(scheme: str, host: str) -> str:
    """Return the address by which the caller reached this server, or the public one if that is not ours."""
    name, _ = split_domain_port(host)
    if name and validate_host(name, settings.ALLOWED_HOSTS):
        return f"{scheme}://{host}"
    return str(settings.SITE_URL)


def _token_digest(headers: Mapping[bytes, bytes]) -> str:
    """Return the digest of the access token, wherever the SDK put it; empty if there is none that could be."""
    scheme, _, credential = _text(headers, b"authorization").partition(" ")
    bearer = credential.strip() if scheme.lower() in {"bearer", "token"} else ""
    valid = [token for token in (bearer, _text(headers, b"x-api-key")) if tokens.looks_valid(token)]
    return tokens.digest(valid[0]) if valid else ""


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1")


def _match(provider: Provider, method: str, path: str) -> Operation:
    safe = method not in _NEVER and not _UNSAFE_PATH.search(path)
    operation = provider.match(method, path) if safe else None
    if operation is None:
        # Where keys stand in paths, a path that does not fit may hold one.
        named = "" if provider.manifest.prefixes else f" {path[:200]!r}"
        raise NotFound(f"{provider.name} has no operation {method}{named} here.")
    return operation


def _upstream_path(scope: Scope, slug: str) -> str:
    """Return what follows the slug, its encoded bytes kept as they came, with the query."""
    raw = scope.get("raw_path") or scope["path"].encode()
    start = len(PREFIX) + len(slug)
    if unquote_to_bytes(raw[:start]) != f"{PREFIX}{slug}".encode():
        raw, start = scope["path"].encode(), len(PREFIX) + len(slug)
    query = scope["query_string"]
    rest = raw[start:].decode("ascii", "replace") or "/"
    return f"{rest}?{query.decode('latin-1')}" if query else rest


@lru_cache(maxsize=1024)
def _reset(moment: datetime) -> bytes:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()


def _own_headers(call: Call, admitted: Admitted | None = None) -> list[tuple[bytes, bytes]]:
    """Return the headers of design: which call this was, who paid, and how the tightest limit stands."""
    headers = [(b"x-digitalme-request-id", str(call.request_id).encode())]
    if admitted is None:
        return headers
    headers.append((b"x-digitalme-key-source", admitted.source.value.encode()))
    if call.fallback:
        headers.append((fallback.HEADER, fallback.USED))
    if limit := admitted.granted.tightest:
        headers += [
            (b"x-digitalme-quota-limit", b"%d" % limit.allowed),
            (b"x-digitalme-quota-remaining", b"%d" % limit.remaining),
            (b"x-digitalme-quota-reset", _reset(limit.resets_at)),
        ]
    headers += _notes(admitted.granted)
    return headers


async def _turn_away(arrival: _Arrival, refusal: DigitalMeError, send: Send) -> None:
    """Refuse what is not even looked at: it costs no round trip, and has no record."""
    nobodys = Call(uuid7(), "", arrival.slug[:64], arrival.provider)
    await _refuse(nobodys, refusal, send, _own_headers(nobodys))


def _address(scope: Scope) -> str:
    """Return the address of the connection; the server has put in it what a trusted proxy says."""
    return str((scope.get("client") or ("",))[0])


def _notes(granted: Granted) -> list[tuple[bytes, bytes]]:
    """Return what is out of the ordinary: a wait, a team's pool, the emergency buffer, a passed soft budget."""
    notes = []
    if granted.wait:
        notes.append((b"x-digitalme-waited-ms", b"%d" % round(granted.wait * 1000)))
    if granted.pool:
        notes.append((b"x-digitalme-pool", str(granted.pool).encode()))
    if granted.emergency:
        notes.append((b"x-digitalme-emergency", b"used"))
    if passed := granted.overspent:
        notes.append((b"x-digitalme-over-budget", f"{passed.type} {passed.dimension}".encode()))
    return notes


def _limit_headers(refusal: DigitalMeError) -> list[tuple[bytes, bytes]]:
    """Return how the limit stands that refuses a call, and whose it is."""
    facts = refusal.data
    if "limit_type" not in facts:
        return []
    return [
        (b"x-digitalme-quota-limit", str(facts["allowed"]).encode()),
        (b"x-digitalme-quota-remaining", str(facts["remaining"]).encode()),
        (b"x-digitalme-quota-reset", _reset(datetime.fromisoformat(facts["resets_at"]))),
        (b"x-digitalme-quota-name", f"{facts['scope']} {facts['limit_type']} {facts['dimension']}".encode()),
    ]


async def _refuse(call: Call, error: DigitalMeError, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
    """Answer with an error in the provider's own shape, so that its SDK raises its native exception."""
    shape = call.provider.error_shape if call.provider else "openai"
    status, extra, body = refusals.render(shape, error, str(call.request_id))
    await send({"type": "http.response.start", "status": status, "headers": extra + headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
