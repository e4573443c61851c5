"""What an address may be: one parser for all of them, and which addresses lead inside."""

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings

from digitalme.errors import SecurityViolation

_URL = re.compile(r"[\x21-\x7e]+")
_HOST = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*")
_PORTS = {"https": 443, "http": 80}
_SECRETIVE = re.compile(r"key|token|secret|passw|pwd|auth|sig|credential", re.IGNORECASE)
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
class Target:
    """Where an address leads. `literal` tells that its host is an IP address."""

    scheme: str
    host: str
    port: int
    literal: bool


@dataclass(frozen=True, slots=True)
class OwnAddress:
    """An address that somebody entered with a key: its origin, and what follows it, path and query.

    `private` tells that the operator named its host: it may be on this network then, and http.
    """

    origin: str
    rest: str
    private: bool


def own_address(url: str) -> OwnAddress:
    """Return an address of a user's own, taken apart. Raises SecurityViolation unless it may be reached.

    The same as check_url for everybody's; an operator's DIGITALME_PRIVATE_HOSTS names the hosts, or
    host:port, that may be private. A key has no place in it: addresses are shown.
    """
    private = _is_private(url)
    target = target_of(url, private)
    parts = urlsplit(url)
    if "#" in url:
        raise SecurityViolation("The address must not have a # in it.")
    if any(_SECRETIVE.search(name) for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        raise SecurityViolation("The address must not have a key in it: addresses are shown. Enter it as the token.")
    if _authority(target) == _authority(target_of(settings.SITE_URL, True)):
        raise SecurityViolation("The address is this server itself.")
    query = f"?{parts.query}" if parts.query else ""
    return OwnAddress(f"{target.scheme}://{_authority(target)}", f"{parts.path or '/'}{query}", private)


def _is_private(url: str) -> bool:
    """Whether the operator lets people name this address's host although it is private."""
    try:
        target = target_of(url, True)
    except SecurityViolation:
        return False
    host = _bracketed(target.host)
    return bool({host, f"{host}:{target.port}"} & settings.DIGITALME_PRIVATE_HOSTS)


def _authority(target: Target) -> str:
    host = _bracketed(target.host)
    return host if target.port == _PORTS[target.scheme] else f"{host}:{target.port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def check_url(url: str, *, operator: bool) -> None:
    """Raise SecurityViolation unless a request may be sent to this address.

    https to a public host on port 443 only; for an address of the operator's also http, other ports
    and private addresses. A name is resolved and checked when the connection is made.
    """
    target_of(url, operator)


@lru_cache(maxsize=256)
def target_of(url: str, operator: bool) -> Target:
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
    port = port if port is not None else _PORTS[parts.scheme]
    if not operator and port != 443:
        raise SecurityViolation("Only port 443 is allowed.")
    literal = _check_host(host, operator)
    if "[" in parts.netloc and ":" not in host:
        raise SecurityViolation("The address names no valid host.")
    return Target(parts.scheme, host, port, literal)


def own_host(host: str, port: int, ports: Collection[int]) -> bool:
    """Check a host of a user's own, in small letters, for a protocol other than HTTP, and return whether the
    operator lets it be private. Raises SecurityViolation unless it may be reached.

    A public host on one of the `ports`, or one that DIGITALME_PRIVATE_HOSTS names, on any.
    """
    named = _bracketed(host)
    private = bool({named, f"{named}:{port}"} & settings.DIGITALME_PRIVATE_HOSTS)
    _check_host(host, private)
    if not private and port not in ports:
        raise SecurityViolation(f"Only these ports are allowed: {', '.join(map(str, sorted(ports)))}.")
    return private


def _check_host(host: str, operator: bool) -> bool:
    """Return whether a host is an IP address. Raises SecurityViolation for one that is none, or leads inside."""
    ip = _literal(host)
    if ip is None and not _HOST.fullmatch(host):
        raise SecurityViolation("The address names no valid host.")
    if ip is None and _NUMBER.fullmatch(host.rpartition(".")[2]):
        # 2130706433, 0x7f.1, 127.1: resolvers take these for addresses.
        raise SecurityViolation("The address names no valid host.")
    if ip is not None and not operator and not is_public(ip):
        raise SecurityViolation("The address is not on the public internet.")
    return ip is not None


def _literal(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
