"""How the property tests run, a relay, and a resolver that says what a test tells it."""

import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from pytest_socket import SocketConnectBlockedError

from providers.outbound import Relay

# A busy machine is no failure: how long an example takes says nothing here.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# What pytest-socket raises where a connection beyond loopback is tried; it warns first.
BLOCKED = (SocketConnectBlockedError, UserWarning)
Resolver = Callable[[dict[str, list[list[str]]]], dict[str, int]]


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    one = Relay()
    await one.start()
    yield one
    await one.close()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """Return a function that sets what names resolve to, lookup by lookup; it returns the count of
    lookups. Literal addresses resolve as ever, and anything else does not resolve."""
    real = socket.getaddrinfo
    answers: dict[str, list[list[str]]] = {}
    asked: dict[str, int] = {}

    def getaddrinfo(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name not in answers:
            if name.replace(".", "").isdigit() or ":" in name:
                return real(host, port, *args, **more)
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        turn = asked[name] = asked.get(name, 0) + 1
        found = answers[name][min(turn, len(answers[name])) - 1]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (one, int(port), 0, 0))
            if ":" in one
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, int(port)))
            for one in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    def use(given: dict[str, list[list[str]]]) -> dict[str, int]:
        answers.update(given)
        return asked

    return use
