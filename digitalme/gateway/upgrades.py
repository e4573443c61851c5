"""Requests to change the protocol: this gateway speaks plain HTTP, and says so."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from digitalme.database import uuid7
from digitalme.errors import NotSupported
from providers import refusals

Send = Callable[[dict[str, Any]], Awaitable[None]]
MESSAGE = (
    "This gateway does not carry WebSockets. Use the provider's HTTP interface through it (server-sent events for "
    "what is to come in pieces), or connect to the provider directly with a key of your own."
)


def asked_for(scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request wants to become a WebSocket (RFC 6455, 4.2.1), whatever the server made of it."""
    return scope["type"] == "websocket" or b"websocket" in headers.get(b"upgrade", b"").lower()


async def refuse(scope: MutableMapping[str, Any], send: Send) -> None:
    """Answer 501 with a problem document.

    A server that has begun to speak the protocol itself can be told so only if it knows the extension for it;
    without it the handshake is refused.
    """
    status, headers, body = refusals.render("problem", NotSupported(MESSAGE), str(uuid7()))
    kind = "http"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": 1003})
            return
        kind = "websocket.http"
    headers += [(b"connection", b"close"), (b"content-length", b"%d" % len(body))]
    await send({"type": f"{kind}.response.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.response.body", "body": body, "more_body": False})
