"""An HTTP/1.1 client for the relay: connections kept open, answers handed on as they arrive.

It knows protocols, not policy: which address may be reached is decided by its only user, outbound.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httptools

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 600.0
KEEP_ALIVE_SECONDS = 15.0
MAX_HEAD_BYTES = 64 * 1024
BUFFER_BYTES = 256 * 1024
_PATH = re.compile(r"/[\x21-\x7e]*")
_METHOD = re.compile(r"[A-Z]{1,16}")


class Refused(Exception):
    """A request that cannot be written safely: nothing was sent. The message holds no value of it."""


class Broken(Exception):
    """An exchange that did not come to its end. `reason` is one of network, protocol, timeout, cut,
    limit."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def head_of(method: str, path_and_query: str, host: str, headers: Mapping[str, str], length: int | None) -> bytes:
    """Return a request's head; without a length its body goes in chunks. Raises Refused if any part could end its
    line early."""
    if not _METHOD.fullmatch(method) or not _PATH.fullmatch(path_and_query):
        raise Refused("The request's first line has characters that it must not have.")
    lines = [f"{method} {path_and_query} HTTP/1.1", f"host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if length is None:
        lines.append("transfer-encoding: chunked")
    elif length or method not in ("GET", "HEAD"):
        lines.append(f"content-length: {length}")
    try:
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    except UnicodeEncodeError:
        raise Refused("A header has characters that it must not have.") from None
    ends = len(lines) + 1
    if head.count(b"\r") != ends or head.count(b"\n") != ends or b"\0" in head:
        raise Refused("A header has characters that it must not have.")
    return head


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections lead, and what they are pooled by."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"https": 443, "http": 80}[self.scheme] else f"{host}:{self.port}"


class Connection(asyncio.Protocol):
    """One connection with one exchange at a time."""

    def __init__(self, pool: "Pool", origin: Origin) -> None:
        self._pool, self._origin = pool, origin
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._head: asyncio.Future[None] | None = None
        self._more: asyncio.Future[None] | None = None
        self._feeder: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._busy = self._paused = False
        self.used_before = False
        self.idle_since = 0.0
        self._begin()

    def _begin(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self._buffered = self._head_bytes = 0
        self._complete = self._until_close = self._bodiless = False
        self._problem = ""

    # --- The exchange ---

    async def send(
        self, head: bytes, body: bytes, rest: AsyncIterator[bytes] | None = None, *, chunked: bool = False
    ) -> None:
        """Write a request and wait for its answer's head. Raises Broken.

        `rest` is what is still to come of the body, written as it comes, in chunks if its length is not known; an
        answer may come before its end. What `rest` itself raises is raised here, or breaks the answer off.
        """
        if self._transport is None or self._transport.is_closing():
            raise Broken("network")
        self._begin()
        self._busy, self._bodiless = True, head.startswith(b"HEAD ")
        self._head = self._loop.create_future()
        self._heard = self._loop.time()
        self._timer = self._loop.call_later(SILENCE_SECONDS, self._listen)
        self._transport.write(head + body if body else head)
        if rest is not None:
            self._feeder = self._loop.create_task(self._feed(self._transport, rest, chunked))
        try:
            await self._head
        except BaseException:
            self.abort()
            raise
        finally:
            self._head = None
        self.used_before = True

    async def _feed(self, transport: asyncio.Transport, rest: AsyncIterator[bytes], chunked: bool) -> None:
        """Write the rest of a body, no faster than the other side takes it."""
        try:
            async for piece in rest:
                await self._writable.wait()
                if transport.is_closing():
                    return
                self._heard = self._loop.time()  # whoever takes what we say is not silent
                transport.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            if chunked:
                transport.write(b"0\r\n\r\n")
            self._feeder = None
        except Exception as problem:
            self._feeder = None
            if self._head is not None and not self._head.done():
                self._head.set_exception(problem)
            self._fail("cut")

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body's pieces, undecoded, as they arrive. Raises Broken if it breaks off."""
        while True:
            if self._pieces:
                piece = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
                self._pieces, self._buffered = [], 0
                self._resume()
                yield piece
            elif self._complete:
                return
            else:
                await self._next()

    async def _next(self) -> None:
        """Wait until there is more of the body, or its end. Raises Broken."""
        if self._problem:
            raise Broken(self._problem)
        self._more = self._loop.create_future()
        try:
            await self._more
        finally:
            self._more = None

    async def read(self, limit: int) -> bytes:
        """Return the whole body, undecoded. Raises Broken if it breaks off or is longer than `limit` bytes."""
        pieces, size = [], 0
        while not self._complete or self._pieces:
            pieces += self._pieces
            size += self._buffered
            if size > limit:
                raise Broken("limit")
            self._pieces, self._buffered = [], 0
            self._resume()
            if not self._complete:
                await self._next()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def release(self) -> None:
        """Let go of the answer: the connection is kept if the answer was read to its end, else closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        keep = self._complete and not self._pieces and not self._until_close and self._feeder is None
        self._busy = False
        if keep and self._transport is not None and not self._transport.is_closing():
            self.idle_since = self._loop.time()
            self._pool.keep(self._origin, self)
        else:
            self.abort()

    def abort(self) -> None:
        """Close at once."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._feeder is not None:
            self._feeder.cancel()
            self._feeder = None
        if self._transport is not None:
            self._transport.abort()

    def usable(self, now: float) -> bool:
        """Tell whether an idle connection may be used again."""
        transport = self._transport
        return transport is not None and not transport.is_closing() and now - self.idle_since < KEEP_ALIVE_SECONDS

    def _listen(self) -> None:
        """Break off an exchange in which nothing was heard for SILENCE_SECONDS."""
        left = self._heard + SILENCE_SECONDS - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._listen)
        else:
            self._fail("timeout")

    def _resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def _fail(self, reason: str) -> None:
        if not self._problem:
            self._problem = reason
        if self._head is not None and not self._head.done():
            self._head.set_exception(Broken(self._problem))
        self._wake()
        self.abort()

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    # --- The transport calls ---

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._busy or self._complete:
            self.abort()  # nobody asked: whatever this is, it must not become the next answer
            return
        self._heard = self._loop.time()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._complete:
                self._fail("protocol")
        self._wake()
        if self._buffered > BUFFER_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._writable.set()
        if not self._busy:
            self._pool.forget(self._origin, self)
        elif self.status and self._until_close and exc is None and not self._problem:
            self._complete = True
            self._wake()
        elif not self._complete:
            self._fail("cut" if self.status else "network")

    # --- The parser calls ---

    def on_message_begin(self) -> None:
        if self._complete:
            self._until_close = True
            raise ValueError("Nobody asked for a second answer.")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD_BYTES:
            raise ValueError("The answer's head is too large.")
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self.headers.clear()
            return
        self.status = status
        framed = {b"content-length", b"transfer-encoding"}
        self._until_close = status not in (204, 304) and not any(name in framed for name, _ in self.headers)
        if self._bodiless:
            # The parser cannot be told that no body follows, so it is of no use for another answer.
            self._complete = self._until_close = True
        if self._head is not None and not self._head.done():
            self._head.set_result(None)

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)
        self._buffered += len(body)

    def on_message_complete(self) -> None:
        if self.status:
            self._complete = True
            # Asked here: once the message is over, the parser has forgotten what it said of this.
            self._until_close = self._until_close or not self._parser.should_keep_alive()


class Pool:
    """The idle connections by origin; the newest one is used first."""

    def __init__(self) -> None:
        self._idle: dict[Origin, list[Connection]] = {}

    def take(self, origin: Origin) -> Connection | None:
        """Return an idle connection, closing those that have been idle for too long."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.usable(asyncio.get_running_loop().time()):
                return connection
            connection.abort()
        return None

    def keep(self, origin: Origin, connection: Connection) -> None:
        """Keep a connection for the next exchange."""
        self._idle.setdefault(origin, []).append(connection)

    def forget(self, origin: Origin, connection: Connection) -> None:
        """Drop a connection that the other side closed."""
        idle = self._idle.get(origin)
        if idle and connection in idle:
            idle.remove(connection)

    def close(self) -> None:
        """Close everything that is idle."""
        for idle in self._idle.values():
            for connection in list(idle):
                connection.abort()
        self._idle.clear()

    async def connect(self, origin: Origin, address: str, context: ssl.SSLContext | None) -> Connection:
        """Open a connection to a checked address; TLS still speaks of the origin's name.

        Raises OSError (ssl.SSLError among them) and TimeoutError.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_SECONDS):
            _, connection = await loop.create_connection(
                lambda: Connection(self, origin),
                address,
                origin.port,
                ssl=context if origin.scheme == "https" else None,
                server_hostname=origin.host if origin.scheme == "https" else None,
            )
        return connection
