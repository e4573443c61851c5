"""The only door to the network: every address is checked, pinned, and never redirected from."""

import asyncio
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import certifi
import requests
from aiohttp.abc import AbstractResolver, ResolveResult
from requests.adapters import HTTPAdapter
from yarl import URL

from digitalme.errors import ProviderUnavailable, SecurityViolation, ValidationTimeout
from providers.registry import Provider

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 600.0
KEEP_ALIVE_SECONDS = 15.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_URL = re.compile(r"[\x21-\x7e]+")
_HOST = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
# What Python 3.11's is_global lets through although it leads inside: reserved ranges, a cloud's
# metadata address, and IPv6 forms that carry an IPv4 address.
_BLOCKED_V4 = tuple(
    ipaddress.IPv4Network(net)
    for net in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
    )
)
_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")
_BLOCKED_V6 = tuple(
    ipaddress.IPv6Network(net) for net in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "64:ff9b::/96")
)
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(ip: IPAddress) -> bool:
    """Whether an address is on the public internet. Anything doubtful is not."""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(ip.ipv4_mapped)
        inside = ip in _UNICAST_V6 and not any(ip in net for net in _BLOCKED_V6)
        return inside and ip.is_global and ip.scope_id is None
    return ip.is_global and not any(ip in net for net in _BLOCKED_V4)


@dataclass(frozen=True, slots=True)
class _Target:
    scheme: str
    host: str
    port: int
    literal: bool


def check_url(url: str, *, operator: bool) -> None:
    """Raise SecurityViolation unless a request may be sent to this address.

    https to a public host on port 443 only; for an address of the operator's also http, other ports
    and private addresses. A name is resolved and checked when the connection is made.
    """
    _target(url, operator)


@lru_cache(maxsize=256)
def _target(url: str, operator: bool) -> _Target:
    """Parse an address once, with one parser, refusing whatever another parser could read otherwise."""
    if not _URL.fullmatch(url) or "\\" in url:
        raise SecurityViolation("The address has characters that an address must not have.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise SecurityViolation("The address cannot be read.") from None
    if "@" in parts.netloc or "%" in parts.netloc:
        raise SecurityViolation("The address must not have a user name or an escaped host.")
    schemes = ("https", "http") if operator else ("https",)
    if parts.scheme not in schemes:
        raise SecurityViolation(f"The address must begin with {' or '.join(f'{one}://' for one in schemes)}.")
    port = port if port is not None else {"https": 443, "http": 80}[parts.scheme]
    if not operator and port != 443:
        raise SecurityViolation("Only port 443 is allowed.")
    ip = _literal(host)
    if "[" in parts.netloc and not isinstance(ip, ipaddress.IPv6Address):
        raise SecurityViolation("The address names no valid host.")
    if ip is None and not _HOST.fullmatch(host):
        raise SecurityViolation("The address names no valid host.")
    if ip is None and _NUMBER.fullmatch(host.rpartition(".")[2]):
        # 2130706433, 0x7f.1, 127.1: resolvers take these for addresses.
        raise SecurityViolation("The address names no valid host.")
    if ip is not None and not operator and not is_public(ip):
        raise SecurityViolation("The address is not on the public internet.")
    return _Target(parts.scheme, host, port, ip is not None)


def _literal(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


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

    def __init__(self, target: _Target, address: str) -> None:
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
) -> Fetched:
    """Send one request and return its answer; redirects are returned, not followed.

    Blocking. `timeout` is in seconds, for the whole exchange. Raises SecurityViolation,
    ProviderUnavailable and ValidationTimeout; none carries a header, an address or a cause.
    """
    target = _target(url, operator)
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
            return _exchange(session, method, url, target, headers, body, deadline, max_bytes)
        except requests.Timeout:
            raise ValidationTimeout("The provider did not answer in time.") from None
        except requests.exceptions.SSLError:
            raise ProviderUnavailable("The provider's certificate cannot be trusted.", reason="tls") from None
        except (requests.RequestException, OSError, ValueError):
            raise ProviderUnavailable("The provider cannot be reached.", reason="network") from None


def _exchange(
    session: requests.Session,
    method: str,
    url: str,
    target: _Target,
    headers: Mapping[str, str],
    body: bytes | None,
    deadline: float,
    max_bytes: int,
) -> Fetched:
    left = max(deadline - time.monotonic(), 0.001)
    host = f"[{target.host}]" if ":" in target.host else target.host
    default = {"https": 443, "http": 80}[target.scheme]
    named = {**headers, "host": host if target.port == default else f"{host}:{target.port}"}
    with session.request(
        method, url, headers=named, data=body, timeout=left, allow_redirects=False, stream=True
    ) as answer:
        read = bytearray()
        for piece in answer.iter_content(65_536):
            read += piece
            if time.monotonic() > deadline:
                raise requests.Timeout
            if len(read) >= max_bytes:
                break
        kept = {name.lower(): value for name, value in answer.headers.items()}
        return Fetched(answer.status_code, kept, bytes(read[:max_bytes]))


# --- The gateway's calls, streamed --------------------------------------------------------------


class _GuardedResolver(AbstractResolver):
    """Resolves a name once; the connection is made to the addresses checked here."""

    def __init__(self, operator: bool) -> None:
        self._operator = operator

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        answers = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=found,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found, address in _checked(list(answers), self._operator)
        ]

    async def close(self) -> None:
        """There is nothing to close."""


class Answer:
    """A provider's answer, whose body comes as it arrives."""

    __slots__ = ("_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: list[tuple[bytes, bytes]] = list(response.raw_headers)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body's pieces, undecoded. Raises ProviderUnavailable if it breaks off."""
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError):
            raise ProviderUnavailable("The provider broke its answer off.", reason="cut") from None

    async def close(self) -> None:
        """Let go of the connection; it is used again only if the answer was read to its end."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


class Relay:
    """Sends the gateway's calls, over connections that are kept open."""

    def __init__(self) -> None:
        self._public: aiohttp.ClientSession | None = None
        self._operator: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open; to be called within the event loop that will send."""
        self._public, self._operator = _session(operator=False), _session(operator=True)

    async def close(self) -> None:
        """Close all connections."""
        for session in (self._public, self._operator):
            if session is not None:
                await session.close()
        self._public = self._operator = None

    async def send(
        self, provider: Provider, method: str, path_and_query: str, headers: dict[str, str], body: bytes
    ) -> Answer:
        """Send one request and return its answer as soon as the head is there.

        Raises ProviderUnavailable or SecurityViolation, without a cause. `path_and_query` begins with
        a slash and goes out as it is.
        """
        session = self._operator if provider.operator_upstream else self._public
        if session is None:
            raise RuntimeError("The relay is not started.")
        if not path_and_query.startswith("/"):
            raise SecurityViolation("The path must begin with a slash.")
        _target(provider.upstream, provider.operator_upstream)
        try:
            response = await session.request(
                method,
                URL(provider.upstream + path_and_query, encoded=True),
                headers=headers,
                data=body or None,
                allow_redirects=False,
            )
        except aiohttp.ConnectionTimeoutError:
            raise ProviderUnavailable("The provider did not accept a connection in time.", reason="connect") from None
        except aiohttp.ClientConnectorError:
            raise ProviderUnavailable("The provider cannot be reached.", reason="connect") from None
        except TimeoutError:
            raise ProviderUnavailable("The provider did not answer in time.", reason="timeout") from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise ProviderUnavailable("The provider cannot be reached.", reason="network") from None
        if response.status in _REDIRECTS:
            response.close()
            raise ProviderUnavailable(
                "The provider answered with a redirect, which is never followed.", reason="redirect"
            )
        return Answer(response)


@cache
def _trust() -> ssl.SSLContext:
    """Return whom to trust: the system's authorities and those of the package certifi, since a slim
    container has none of its own. Reading them takes a tenth of a second."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _session(*, operator: bool) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        limit=0, resolver=_GuardedResolver(operator), ssl=_trust(), keepalive_timeout=KEEP_ALIVE_SECONDS
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Content-Type"),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS),
    )
