"""The only door to the network: every address is checked, pinned, and never redirected from."""

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any
from urllib.parse import urlsplit

import certifi
import requests
import urllib3
from requests.adapters import HTTPAdapter

from digitalme.errors import ProviderUnavailable, SecurityViolation, ValidationTimeout
from providers import http1
from providers.adapter import Upload
from providers.addresses import Target, is_public, target_of
from providers.http1 import Connection, Origin, Pool
from providers.registry import Provider
from providers.rewriting import leads_away

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def _checked(answers: list[Any], operator: bool) -> list[tuple[int, str]]:
    """Return (family, address) of a resolver's answers. Every one must be public, or none is used."""
    found = []
    for family, _, _, _, address in answers:
        ip = ipaddress.ip_address(str(address[0]).partition("%")[0])
        if not operator and not is_public(ip):
            raise SecurityViolation("The host name leads to an address that is not on the public internet.")
        found.append((int(family), str(address[0])))
    if not found:
        raise ProviderUnavailable("The provider's host name has no address.")
    return found


# --- One request, answered whole ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer: status, headers with names in lower case, body cut at the bytes allowed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Pinned(HTTPAdapter):
    """Connects to the checked address while TLS and Host still speak of the name."""

    def __init__(self, target: Target, address: str) -> None:
        self._target, self._address = target, address
        super().__init__(max_retries=0)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: bool | str, cert: Any = None
    ) -> tuple[Any, Any]:
        host, pool_keys = super().build_connection_pool_key_attributes(request, verify, cert)
        pool: dict[str, Any] = {**pool_keys}
        host["host"], host["port"] = self._address, self._target.port
        if self._target.scheme == "https":
            pool["assert_hostname"] = self._target.host
            if not self._target.literal:
                pool["server_hostname"] = self._target.host
        return host, pool


def fetch(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes | None = None,
    timeout: float = 10.0,
    operator: bool,
    max_bytes: int = 1_000_000,
    enough: Callable[[bytes], bool] | None = None,
) -> Fetched:
    """Send one request and return its answer; redirects are returned, not followed.

    Blocking. `timeout` is in seconds, for the whole exchange. Of an answer that need not end, what is there is
    returned as soon as it is `enough`. Raises SecurityViolation,
    ProviderUnavailable and ValidationTimeout; none carries a header, an address or a cause.
    """
    target = target_of(url, operator)
    deadline = time.monotonic() + timeout
    try:
        answers = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ProviderUnavailable("The provider's host name cannot be resolved.", reason="dns") from None
    _, address = _checked(list(answers), operator)[0]
    with requests.Session() as session:
        session.trust_env = False
        session.mount(f"{target.scheme}://", _Pinned(target, address))
        try:
            return _exchange(session, method, url, target, headers, body, deadline, max_bytes, enough)
        except (requests.Timeout, urllib3.exceptions.TimeoutError):
            raise ValidationTimeout("The provider did not answer in time.") from None
        except requests.exceptions.SSLError:
            raise ProviderUnavailable("The provider's certificate cannot be trusted.", reason="tls") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError):
            raise ProviderUnavailable("The provider cannot be reached.", reason="network") from None


def _exchange(
    session: requests.Session,
    method: str,
    url: str,
    target: Target,
    headers: Mapping[str, str],
    body: bytes | None,
    deadline: float,
    max_bytes: int,
    enough: Callable[[bytes], bool] | None,
) -> Fetched:
    left = max(deadline - time.monotonic(), 0.001)
    host = f"[{target.host}]" if ":" in target.host else target.host
    default = {"https": 443, "http": 80}[target.scheme]
    named = {**headers, "host": host if target.port == default else f"{host}:{target.port}"}
    with session.request(
        method, url, headers=named, data=body, timeout=left, allow_redirects=False, stream=True
    ) as answer:
        read = bytearray()
        for piece in answer.iter_content(65_536) if enough is None else _as_it_comes(answer):
            read += piece
            if time.monotonic() > deadline:
                raise requests.Timeout
            if len(read) >= max_bytes or (enough and enough(bytes(read))):
                break
        kept = {name.lower(): value for name, value in answer.headers.items()}
        return Fetched(answer.status_code, kept, bytes(read[:max_bytes]))


def _as_it_comes(answer: requests.Response) -> Iterator[bytes]:
    """Yield an answer's pieces without waiting for more of them."""
    while piece := answer.raw.read1(65_536, decode_content=True):
        yield piece


# --- A line for protocols other than HTTP -----------------------------------------------------


def connect(host: str, port: int, *, operator: bool, timeout: float) -> socket.socket:
    """Return a TCP connection to a checked address of a host that `addresses.own_host` let through.

    Blocking, for `timeout` seconds at most, besides the resolver's own. Raises SecurityViolation,
    ProviderUnavailable (its reason being "connect") and ValidationTimeout, without a cause.
    """
    deadline = time.monotonic() + timeout
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ProviderUnavailable(f"The host name {host} cannot be resolved.", reason="connect") from None
    for _, address in _checked(list(answers), operator):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            return socket.create_connection((address, port), timeout=left)
        except OSError:
            continue
    if time.monotonic() >= deadline:
        raise ValidationTimeout(f"{host} did not answer on port {port} in time.")
    raise ProviderUnavailable(f"{host} cannot be reached on port {port}.", reason="connect")


@cache
def tls() -> ssl.SSLContext:
    """Return what certificates are verified with: those of the system, and the usual public ones."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


# --- The gateway's calls, streamed --------------------------------------------------------------


_PROBLEMS = {
    "network": "The provider closed the connection without an answer.",
    "protocol": "The provider answered with something that is not HTTP.",
    "timeout": "The provider did not answer in time.",
    "cut": "The provider broke its answer off.",
    "limit": "The provider's answer is larger than this gateway passes on.",
}


class Answer:
    """A provider's answer, whose body comes as it arrives."""

    __slots__ = ("_connection", "headers", "status")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.status = connection.status
        self.headers = connection.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body's pieces, undecoded. Raises ProviderUnavailable if it breaks off."""
        try:
            async for chunk in self._connection.chunks():
                yield chunk
        except http1.Broken:
            raise ProviderUnavailable("The provider broke its answer off.", reason="cut") from None

    async def read(self, limit: int) -> bytes:
        """Return the whole body, undecoded. Raises ProviderUnavailable if it breaks off or is longer than
        `limit` bytes."""
        try:
            return await self._connection.read(limit)
        except http1.Broken as broken:
            raise ProviderUnavailable(_PROBLEMS[broken.reason], reason="cut") from None

    async def close(self) -> None:
        """Let go of the connection; it is used again only if the answer was read to its end."""
        self._connection.release()


class Relay:
    """Sends the gateway's calls, over connections that are kept open."""

    def __init__(self) -> None:
        self._pools: dict[bool, Pool] = {}
        self._context = tls()

    async def start(self) -> None:
        """Open; to be called within the event loop that will send."""
        self._pools = {False: Pool(), True: Pool()}

    async def close(self) -> None:
        """Close all idle connections."""
        for pool in self._pools.values():
            pool.close()
        self._pools = {}

    async def send(
        self,
        provider: Provider,
        method: str,
        path_and_query: str,
        headers: dict[str, str],
        body: bytes,
        upload: Upload | None = None,
    ) -> Answer:
        """Send one request and return its answer as soon as the head is there.

        Raises ProviderUnavailable or SecurityViolation, without a cause, and what reading the upload raises.
        `path_and_query` begins with a slash and goes out as it is; an upload is the body in the place of `body`.
        """
        operator = provider.operator_upstream
        pool = self._pools.get(operator)
        if pool is None:
            raise RuntimeError("The relay is not started.")
        origin, prefix = _origin(provider.upstream, operator)
        try:
            length = len(body) if upload is None else upload.length
            head = http1.head_of(method, prefix + path_and_query, origin.authority, headers, length)
        except http1.Refused as refusal:
            raise SecurityViolation(str(refusal)) from None
        # An upload cannot be sent twice, so it is not given to a connection that may just be closing.
        kept = pool.take(origin) if upload is None else None
        connection = kept or await self._connect(pool, origin, operator)
        try:
            if upload is None:
                await connection.send(head, body)
            else:
                await connection.send(head, b"", upload.pieces(), chunked=upload.length is None)
        except http1.Broken as broken:
            # The other side may have closed a kept connection just now. Only what is safe to repeat is
            # repeated: a call that was perhaps carried out must not be carried out twice.
            if not (connection.used_before and broken.reason == "network" and method == "GET"):
                raise ProviderUnavailable(_PROBLEMS[broken.reason], reason=broken.reason) from None
            connection = await self._send_anew(pool, origin, operator, head)
        if connection.status in _REDIRECTS and leads_away(provider, connection.headers):
            connection.abort()
            raise ProviderUnavailable(
                "The provider answered with a redirect, which is never followed.", reason="redirect"
            )
        return Answer(connection)

    async def _send_anew(self, pool: Pool, origin: Origin, operator: bool, head: bytes) -> Connection:
        connection = await self._connect(pool, origin, operator)
        try:
            await connection.send(head, b"")
        except http1.Broken as broken:
            raise ProviderUnavailable(_PROBLEMS[broken.reason], reason=broken.reason) from None
        return connection

    async def _connect(self, pool: Pool, origin: Origin, operator: bool) -> Connection:
        """Resolve once, check every answer, and connect to one of just these addresses."""
        try:
            answers = await asyncio.get_running_loop().getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise ProviderUnavailable("The provider's host name cannot be resolved.", reason="connect") from None
        for _, address in _checked(list(answers), operator):
            try:
                return await pool.connect(origin, address, self._context)
            except ssl.SSLError:
                raise ProviderUnavailable("The provider's certificate cannot be trusted.", reason="connect") from None
            except (OSError, TimeoutError):
                continue
        raise ProviderUnavailable("The provider cannot be reached.", reason="connect")


@lru_cache(maxsize=256)
def _origin(upstream: str, operator: bool) -> tuple[Origin, str]:
    """Return where an upstream's connections lead, and the path that goes before each call's."""
    target = target_of(upstream, operator)
    return Origin(target.scheme, target.host, target.port), urlsplit(upstream).path.rstrip("/")
