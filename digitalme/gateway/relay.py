"""Forward an admitted call, stream the answer back as it comes, and meter a copy."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection

from apikeys import renewal, resolution, unreadable
from apikeys.resolution import KeySource
from apikeys.vault import CredentialUnreadable
from digitalme.audit.actions import ActorKind
from digitalme.errors import DigitalMeError, ProviderUnavailable
from digitalme.gateway import fallback, tickets, unechoed
from digitalme.gateway.admission import Call
from digitalme.gateway.bodies import Upload
from digitalme.gateway.progress import Progress
from providers import adapters, auth, echoes, house, metering, refusals
from providers.adapter import Adapter, Answer, Asked, Headers
from providers.echoes import Guard
from providers.manifest import Inlet, Manifest
from providers.metering import AnswerMeter, Meter, NoMeter
from providers.outbound import Relay
from providers.placement import Outgoing, place_in
from providers.rewriting import Rewriter
from providers.secrets import Secret

log = logging.getLogger(__name__)
Send = Callable[[dict[str, Any]], Awaitable[None]]
MAX_ANSWER = 64 * 1024 * 1024  # of one that is read before it goes on
SMALL_ANSWER = 64 * 1024
BROKE_OFF = "The provider broke the stream off. What arrived so far was counted."


@dataclass(frozen=True, slots=True)
class Request:
    """The caller's request as it came in, its access token cut out.

    `came_in` tells where the token stood, if not in a header; `base` is the address under which the caller
    reaches the provider here, given only where answers may be rewritten. `upload` is a body that is still coming
    in, in the place of `body`. `watched` tells that the call ends when the caller leaves before its answer.
    """

    method: str
    path_and_query: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    parsed: Mapping[str, Any] | None
    came_in: Inlet | None = None
    base: str = ""
    upload: Upload | None = None
    watched: bool = False


async def forward(progress: Progress, request: Request, upstream: Relay, send: Send, headers: Headers) -> None:
    """Forward the call and answer the caller; `headers` are our own, added to the provider's.

    Raises a DigitalMeError while nothing has been sent yet; afterwards errors end the answer itself.
    """
    call = progress.admitted.call
    if call.provider is None or call.operation is None:
        raise ValueError("An admitted call has a provider and an operation.")
    answer, hide_usage, guard = await _ask(progress, request, upstream)
    try:
        progress.http_status = answer.status
        if refusal := fallback.refused_by_provider(progress.admitted, answer.status):
            progress.end("failed", f"http_{answer.status}")
            raise refusal
        if fallback.may_be_asked(progress.admitted, answer.status):
            headers = [*headers, (fallback.HEADER, fallback.POSSIBLE)]
        progress.meter = metering.meter(
            call.operation,
            stream=call.estimate.stream,
            hide_usage=hide_usage,
            status=answer.status,
            failures=call.provider.manifest.failures,
        )
        back = auth.returnable(answer.headers) + headers
        rewriter = _rewriter(call, request)
        if rewriter:
            back = rewriter.headers(answer.headers, back)
        if guard:
            back = guard.headers(back)
        if _is_stream(answer):
            pieces, back = unechoed.stream(answer, back, guard)
            await _stream(progress, progress.meter, pieces, answer.status, back, send)
        elif _may_pass(answer, progress.meter, rewriter):
            pieces = unechoed.passed(answer, guard)
            await _pass_on(progress, progress.meter, answer, pieces, back, send, head=request.method == "HEAD")
        else:
            await _whole(progress, progress.meter, answer, back, send, rewriter, guard, head=request.method == "HEAD")
    finally:
        await answer.close()


async def _ask(progress: Progress, request: Request, upstream: Relay) -> tuple[Answer, bool, Guard | None]:
    """Send the request on with the right credential. The plaintext lives in this frame only, and in the guard
    that keeps it out of the answer."""
    admitted, call = progress.admitted, progress.admitted.call
    if call.provider is None or call.operation is None:
        raise ValueError("An admitted call has a provider and an operation.")
    prepared, body, hide_usage = request.parsed, request.body, False
    house_pays = admitted.key is not None and admitted.source is KeySource.SYSTEM
    if request.parsed is not None:
        prepared, hide_usage = metering.prepare(call.operation, request.parsed, cap_output=house_pays)
    fields = await _open(admitted.key, call.provider.manifest) if admitted.key else {}
    guard = echoes.guard_of(call.provider.manifest, fields) if fields else None
    if adapter := adapters.of(call.provider):
        return await _by_adapter(progress, adapter, request, prepared, upstream, fields), hide_usage, guard
    if prepared is not request.parsed:
        body = json.dumps(prepared, separators=(",", ":")).encode()
    headers = auth.forwardable(request.headers, compressed=_unread(call))
    if house_pays:
        headers = house.headers(headers)
    path = request.path_and_query
    if admitted.key is None:
        auth.strip(call.provider.manifest, headers)
    elif call.provider.manifest.header_only:
        auth.inject(call.provider.manifest, fields, headers)
    else:
        outgoing = Outgoing(request.method, path, headers, body)
        place_in(call.provider.manifest, fields, outgoing, came_in=request.came_in)
        path, body = outgoing.path, outgoing.body
    there, path = call.provider.at(path)
    progress.reached = True  # so that a call which ends while its answer is awaited is counted
    try:
        answer = await upstream.send(there, request.method, path, headers, body, request.upload)
    except DigitalMeError as problem:
        progress.reached = _was_reached(problem)
        raise
    return answer, hide_usage, guard


async def _by_adapter(
    progress: Progress,
    adapter: Adapter,
    request: Request,
    parsed: Mapping[str, Any] | None,
    upstream: Relay,
    fields: Mapping[str, Secret],
) -> Answer:
    """Have an adapter answer. What it refuses itself, or fails to bring to the provider, was not consumed."""
    call = progress.admitted.call
    if call.provider is None or call.operation is None:
        raise ValueError("An admitted call has a provider and an operation.")
    headers = auth.forwardable(request.headers)
    asked = Asked(
        provider=call.provider,
        operation=call.operation,
        method=request.method,
        path=request.path_and_query,
        headers=house.headers(headers) if progress.admitted.source is KeySource.SYSTEM else headers,
        body=request.body,
        parsed=parsed,
        upload=request.upload,
        wire=upstream,
        fields=fields,
        base=request.base,
    )
    progress.reached = True
    try:
        return await adapter.answer(asked)
    except DigitalMeError as problem:
        progress.reached = _was_reached(problem)
        raise


def _was_reached(problem: DigitalMeError) -> bool:
    return isinstance(problem, ProviderUnavailable) and problem.data.get("reason") != "connect"


async def _open(key: resolution.ResolvedKey, manifest: Manifest) -> Mapping[str, Secret]:
    """Unseal a key, and fetch a fresh access token for one whose tokens live for an hour."""
    fields = await _unsealed(key)
    at_hand = renewal.ready(key, manifest, fields)
    return renewal.usable(at_hand if at_hand is not None else await renewal.fetched(key, fields))


async def _unsealed(key: resolution.ResolvedKey) -> dict[str, Secret]:
    """Unseal a key: at once if its owner's derived key is at hand, else in a thread, since a derivation
    takes 15 ms of CPU."""
    try:
        if resolution.warm(key):
            return resolution.unseal(key)
        return await resolution.aside(resolution.unseal, key)
    except CredentialUnreadable:
        await asyncio.to_thread(_report, key)
        raise


def _report(key: resolution.ResolvedKey) -> None:
    try:
        unreadable.report(key, kind=ActorKind.GATEWAY)
    finally:
        connection.close()  # this thread has one for this moment only


def _rewriter(call: Call, request: Request) -> Rewriter | None:
    """Return what leads the provider's addresses through this server, where the definition asks for it."""
    if call.provider is None or call.provider.manifest.rewrite is None:
        return None
    slug, digest = call.slug, call.token_digest
    return Rewriter(call.provider, request.base, lambda path: tickets.issue(digest, slug, path))


def _is_stream(answer: Answer) -> bool:
    return b"text/event-stream" in _header(answer, b"content-type")


def _header(answer: Answer, wanted: bytes) -> bytes:
    return next((value for name, value in answer.headers if name.lower() == wanted), b"")


def _unread(call: Call) -> bool:
    """Whether nothing in an answer to this call is looked at, so that it may come compressed."""
    provider, operation = call.provider, call.operation
    if provider is None or operation is None or operation.dialect != "none" or not provider.upstream:
        return False
    rules = provider.manifest
    return not (rules.failures or operation.usage or operation.unit_price or (rules.rewrite and rules.rewrite.fields))


def _may_pass(answer: Answer, meter: Meter, rewriter: Rewriter | None) -> bool:
    """Whether an answer is passed on as it comes: one that is neither metered nor rewritten. Short ones are read
    first all the same, so that one that breaks off is told as a failure."""
    if metering.passes(meter):
        return True
    length, kind = _header(answer, b"content-length"), _header(answer, b"content-type").lower()
    size = int(length) if length.isdigit() else None
    if size is not None and size <= SMALL_ANSWER:
        return False
    if isinstance(meter, NoMeter):
        beyond = size is not None and size > MAX_ANSWER  # a file: no answer with addresses in it is that long
        return rewriter is None or b"json" not in kind or beyond
    return isinstance(meter, AnswerMeter) and bool(kind) and b"json" not in kind and not kind.startswith(b"text/")


async def _pass_on(
    progress: Progress,
    meter: Meter,
    answer: Answer,
    pieces: AsyncIterator[bytes],
    headers: Headers,
    send: Send,
    *,
    head: bool,
) -> None:
    """Pass each piece on as it arrives. If it breaks off, so does the answer here: its end is left out, which the
    server takes as an order to close the connection."""
    length, bodiless = _header(answer, b"content-length"), head or answer.status in (204, 304)
    left = int(length) if length.isdigit() and not bodiless else None
    if length and (head or left is not None):
        headers.append((b"content-length", length))
    progress.passing, progress.delivering = True, answer.status < 400
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    try:
        async for piece in pieces:
            if progress.first_byte is None:
                progress.first_byte = time.perf_counter()
            if left is not None:
                left -= len(piece)
                if left < 0:
                    break
            await send({"type": "http.response.body", "body": meter.feed(piece), "more_body": True})
    except DigitalMeError as problem:
        meter.end()
        progress.end("cut", problem.code.value)
        return
    meter.end()
    if left:
        progress.end("cut", "key_in_answer")  # taken out, so that the length that was told no longer holds
        return
    if not meter.finished:
        progress.end("cut", "stream_broke_off")
        return
    progress.passing = False
    if answer.status >= 400 or meter.failed:
        progress.end("failed", meter.failed or f"http_{answer.status}")
    else:
        progress.end("ok")
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _stream(
    progress: Progress, meter: Meter, pieces: AsyncIterator[bytes], status: int, headers: Headers, send: Send
) -> None:
    """Pass each piece on as it arrives. A provider that breaks off ends the stream with an error event
    in its own shape, so that the SDK raises instead of taking half an answer for a whole one."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    progress.streaming, progress.delivering = True, status < 400
    try:
        async for chunk in pieces:
            if progress.first_byte is None:
                progress.first_byte = time.perf_counter()
            if passed := meter.feed(chunk):
                await send({"type": "http.response.body", "body": passed, "more_body": True})
    except DigitalMeError as problem:
        progress.end("cut", problem.code.value)
    else:
        if status >= 400 or meter.failed:
            progress.end("failed", meter.failed or f"http_{status}")
        elif not meter.finished:
            progress.end("cut", "stream_broke_off")
        else:
            progress.end("ok")
    rest = meter.end()
    if progress.status == "cut":
        rest += error_event(progress, ProviderUnavailable(BROKE_OFF))
    await send({"type": "http.response.body", "body": rest, "more_body": False})


def error_event(progress: Progress, problem: DigitalMeError) -> bytes:
    """Return an error as a stream of this provider tells it. The blank line before it ends an event that
    was cut in the middle."""
    call = progress.admitted.call
    shape = call.provider.error_shape if call.provider else "openai"
    _, _, body = refusals.render(shape, problem, str(call.request_id))
    name = b"event: error\n" if shape == "anthropic" else b""
    return b"\n\n" + name + b"data: " + body + b"\n\n"


async def _whole(
    progress: Progress,
    meter: Meter,
    answer: Answer,
    headers: Headers,
    send: Send,
    rewriter: Rewriter | None,
    guard: Guard | None,
    *,
    head: bool,
) -> None:
    """Read the whole answer, then pass it on: until it is complete, a failure can still be told properly."""
    body = await answer.read(MAX_ANSWER)
    progress.first_byte = time.perf_counter()
    plain = body
    if guard and body:
        body, plain, headers = await unechoed.whole(answer, headers, body, guard, limit=MAX_ANSWER)
    meter.feed(plain)
    meter.end()
    if answer.status >= 400:
        progress.end("failed", f"http_{answer.status}")
    elif meter.failed:
        progress.end("failed", meter.failed)
        if meter.garbled:
            raise ProviderUnavailable("The provider answered with something that is not what it documents.")
    else:
        progress.end("ok")
    if rewriter:
        body = rewriter.body(answer.headers, body)
    length = _header(answer, b"content-length") if head else b"%d" % len(body)
    if length:
        headers.append((b"content-length", length))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
