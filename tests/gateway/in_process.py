"""The gateway's ASGI application called as a server calls it, without a server: for many calls at little cost."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from digitalme.gateway.app import GatewayApp


@dataclass(slots=True)
class Answered:
    """What a client would have got."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    @property
    def whole(self) -> bytes:
        """Everything that went over the wire."""
        return b"\n".join([*(name + b": " + value for name, value in self.headers), self.body])


class InProcess:
    """Take one with `started()`."""

    def __init__(self, app: GatewayApp) -> None:
        self._app = app

    async def call(
        self, address: str, body: bytes, headers: Mapping[str, str], *, leaves_after: int | None = None
    ) -> Answered:
        """POST to /gateway/<address>; with `leaves_after` the client is gone after so many pieces of the answer."""
        path, _, query = f"/gateway/{address}".partition("?")
        scope = {
            "type": "http",
            "http_version": "1.1",
            "scheme": "http",
            "server": ("127.0.0.1", 8000),
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
            + [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")],
            "client": ("127.0.0.1", 1),
        }
        answered, gone, pieces = Answered(), asyncio.Event(), 0
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            nonlocal pieces
            if message["type"] == "http.response.start":
                answered.status, answered.headers = message["status"], list(message["headers"])
                return
            answered.body += message.get("body", b"")
            pieces += 1
            if leaves_after is not None and pieces >= leaves_after:
                gone.set()
                await asyncio.sleep(0)

        with contextlib.suppress(asyncio.CancelledError):
            await self._app(scope, receive, send)
        return answered


@contextlib.asynccontextmanager
async def started() -> AsyncIterator[InProcess]:
    """A gateway that has started, and that settles everything at the end."""
    app, switching = GatewayApp(), sys.getswitchinterval()
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    living = asyncio.ensure_future(app({"type": "lifespan"}, inbox.get, said.put))
    inbox.put_nowait({"type": "lifespan.startup"})
    assert (await said.get())["type"] == "lifespan.startup.complete"
    try:
        yield InProcess(app)
    finally:
        inbox.put_nowait({"type": "lifespan.shutdown"})
        await living
        sys.setswitchinterval(switching)
