"""The bodies of requests: read whole where something in them is looked at, else handed on as they come."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from digitalme.errors import InvalidRequest
from providers import adapters
from providers.manifest import Operation
from providers.registry import Provider

Receive = Callable[[], Awaitable[dict[str, Any]]]
MAX_BODY = 32 * 1024 * 1024  # of what is read whole; what is handed on has no limit
SMALL_BODY = 64 * 1024
SILENCE_SECONDS = 60
_IN_BODY = ("form", "json")
TOO_LARGE = "The request's body is too large: this gateway takes up to 32 MiB."


class ClientLeft(Exception):
    """The client closed the connection before its request was complete."""


class Upload:
    """A body that is still coming in. `length` is that of all of it in bytes, None if only its end tells."""

    __slots__ = ("_first", "_over", "_receive", "length")

    def __init__(self, first: bytes, receive: Receive, length: int | None) -> None:
        self.length = length
        self._first, self._receive = first, receive
        self._over = asyncio.Event()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body, to be asked for once. Raises ClientLeft, and InvalidRequest if nothing comes for
        SILENCE_SECONDS."""
        piece, more = self._first, True
        self._first = b""
        while True:
            if piece:
                yield piece
            if not more:
                break
            piece, more = await self._next()
        self._over.set()

    async def _next(self) -> tuple[bytes, bool]:
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                message = await self._receive()
        except TimeoutError:
            raise InvalidRequest(f"The request's body stopped coming for {SILENCE_SECONDS} seconds.") from None
        if message["type"] == "http.disconnect":
            raise ClientLeft
        return message.get("body", b""), bool(message.get("more_body"))

    async def over(self) -> None:
        """Wait until all of it has come."""
        await self._over.wait()


def handed_on(provider: Provider, operation: Operation) -> bool:
    """Whether nothing in the body of such a request is metered or changed."""
    if operation.dialect not in ("none", "anthropic_later"):
        return False
    adapter = adapters.of(provider)
    return adapter.takes_uploads if adapter else all(one.place not in _IN_BODY for one in provider.manifest.auths)


def watched(provider: Provider, operation: Operation) -> bool:
    """Whether such a call ends when its caller leaves before its answer."""
    if operation.dialect != "none" or operation.unit_price is not None:
        return False
    adapter = adapters.of(provider)
    return adapter is None or adapter.ends_with_caller


async def begun(headers: Mapping[bytes, bytes], receive: Receive) -> tuple[bytes, Upload | None]:
    """Return a body that is short, or None and what is still coming of a longer one. Raises InvalidRequest."""
    length = _length(headers)
    if length is not None and length <= SMALL_BODY:
        return await whole(headers, receive), None
    message = await receive()
    if message["type"] == "http.disconnect":
        raise InvalidRequest("The client left before its request was complete.")
    if not message.get("more_body"):
        return message.get("body", b""), None
    return b"", Upload(message.get("body", b""), receive, length)


async def whole(headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
    """Read the whole body. Raises InvalidRequest above MAX_BODY bytes."""
    if (_length(headers) or 0) > MAX_BODY:
        raise InvalidRequest(TOO_LARGE, limit=MAX_BODY)
    message = await receive()
    if not message.get("more_body"):
        return message.get("body", b"")  # type: ignore[no-any-return]
    pieces, size = [message.get("body", b"")], len(message.get("body", b""))
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequest("The client left before its request was complete.")
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > MAX_BODY:
            raise InvalidRequest(TOO_LARGE, limit=MAX_BODY)
    return b"".join(pieces)


async def until_client_leaves(work: Any, receive: Receive, upload: Upload | None) -> None:
    """Run the work, but stop it when the client disconnects: nobody reads on."""
    pump = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_disconnected(receive, upload))
    try:
        await asyncio.wait({pump, watch}, return_when=asyncio.FIRST_COMPLETED)
        if pump.done():
            pump.result()
    finally:
        watch.cancel()
        if not pump.done():
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)


async def _disconnected(receive: Receive, upload: Upload | None) -> None:
    if upload is not None:
        await upload.over()  # until then the upload itself hears of it
    while (await receive())["type"] != "http.disconnect":
        pass


def _length(headers: Mapping[bytes, bytes]) -> int | None:
    declared = headers.get(b"content-length")
    if declared is None:
        return None
    if not declared.isdigit() or len(declared) > 18:
        raise InvalidRequest("The request's content-length is not a number.")
    return int(declared)
