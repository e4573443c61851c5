"""Addresses of a provider in its answers, led through this server, so that what follows them is metered too."""

import re
from collections.abc import Callable
from functools import lru_cache

from providers.manifest import Host, Rewrite
from providers.registry import Provider

Headers = list[tuple[bytes, bytes]]
_NOTHING = Rewrite()


class Rewriter:
    """Rewrites one answer. `base` is where the caller reaches the provider here, without a final slash;
    `ticket` makes one for a path."""

    def __init__(self, provider: Provider, base: str, ticket: Callable[[str], str]) -> None:
        self._rules = provider.manifest.rewrite or _NOTHING
        self._origins = _origins_of(provider)
        self._base, self._ticket = base, ticket

    def headers(self, given: Headers, back: Headers) -> Headers:
        """Return the headers that go back, with those of the definition rewritten. One that leads elsewhere is
        left out if it would be followed."""
        wanted = {name.encode() for name in self._rules.headers}
        kept = [(name, value) for name, value in back if name not in wanted]
        for name, value in given:
            if (low := name.lower()) in wanted:
                text = value.decode("latin-1")
                led = self._in_link(text) if low == b"link" else self.address(text)
                if led:
                    kept.append((low, led.encode("latin-1")))
        return kept

    def address(self, address: str) -> str:
        """Return where an address leads here; empty if it is none of the provider's."""
        if address.startswith("/") and not address.startswith("//"):
            return self._base + address
        return next((led for one in self._origins if (led := one.led(address, self._base))), "")

    def body(self, headers: Headers, body: bytes) -> bytes:
        """Return a JSON body with the addresses in the definition's members rewritten; all else stays as it is,
        byte for byte."""
        facts = {name.lower(): value.lower() for name, value in headers}
        if not self._rules.fields or b"json" not in facts.get(b"content-type", b"") or b"content-encoding" in facts:
            return body
        return _pattern(self._rules.fields).sub(self._member, body)

    def _member(self, hit: re.Match[bytes]) -> bytes:
        written = hit[3].decode("latin-1")
        led = self.address(written.replace("\\/", "/"))
        if not led:
            return hit[0]
        if hit[1].decode() in self._rules.tickets:
            path = led[len(self._base) :].partition("?")[0]
            led += f"{'&' if '?' in led else '?'}dm_ticket={self._ticket(path)}"
        return hit[1].join((b'"', b'"')) + hit[2] + b'"' + led.encode("latin-1") + b'"'

    def _in_link(self, value: str) -> str:
        """Rewrite the targets in a Link header (RFC 8288)."""
        return re.sub(r"<([^<>]*)>", lambda hit: f"<{self.address(hit[1]) or hit[1]}>", value)


class _Origin:
    """One origin of the provider, and how paths at it are called here."""

    __slots__ = ("_host", "_start")

    def __init__(self, start: str, host: Host | None = None) -> None:
        self._start, self._host = start, host

    def led(self, address: str, base: str) -> str:
        if self._host is not None and "*" in self._start:
            path = address.removeprefix("https:/")
            return base + path if path != address and self._host.takes(path) else ""
        if not address.startswith(self._start):
            return ""
        rest = address[len(self._start) :]
        if rest[:1] not in ("", "/", "?", "#", "{"):
            return ""
        if self._host is None:
            return base + rest
        if self._host.strip:
            return base + self._host.prefix + rest
        return base + rest if self._host.takes(rest) else ""


def leads_away(provider: Provider, headers: Headers) -> bool:
    """Whether following an answer's Location would leave the provider, or is not foreseen for it at all."""
    places = [value.decode("latin-1") for name, value in headers if name.lower() == b"location"]
    if not places:
        return False
    rules = provider.manifest.rewrite
    if rules is None or "location" not in rules.headers:
        return True
    return not all(Rewriter(provider, "/", lambda path: "").address(place) for place in places)


def _origins_of(provider: Provider) -> tuple[_Origin, ...]:
    upstream = provider.upstream if provider.operator_upstream else ""
    return _origins(provider.manifest.base_url, provider.manifest.hosts, upstream)


@lru_cache(maxsize=256)
def _origins(base_url: str, hosts: tuple[Host, ...], upstream: str) -> tuple[_Origin, ...]:
    found = [_Origin(base_url)] + [_Origin(host.base_url, host) for host in hosts]
    if upstream:
        # An operator's upstream may name itself; it stands for every host.
        found.append(_Origin(upstream))
    return tuple(found)


@lru_cache(maxsize=256)
def _pattern(fields: tuple[str, ...]) -> re.Pattern[bytes]:
    names = b"|".join(
        (rb"[A-Za-z0-9_]*" if name.startswith("*") else b"") + re.escape(name.lstrip("*")).encode() for name in fields
    )
    return re.compile(rb'"(' + names + rb')"(\s*:\s*)"(https?:(?:[^"\\]|\\.)*)"')
