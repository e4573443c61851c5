"""The secret in use, taken out of what comes back: a provider may repeat it in a header, an error or a stream."""

import base64
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import quote, quote_plus

from digitalme.errors import ProviderUnavailable
from providers.manifest import Manifest
from providers.secrets import Secret

MARK = b"[redacted]"
# A shorter one (a mailbox's poor password) would take ordinary words out of every answer.
MIN_LENGTH = 6
PIECE = 64 * 1024
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]+")
# What may stand unescaped in a segment of a path (RFC 3986, 3.3).
_IN_SEGMENT = ":@!$&'()*+,;=-._~"
_ESCAPE = re.compile(rb"%[0-9A-F]{2}")
Headers = list[tuple[bytes, bytes]]


class Guard:
    """Takes one credential's secrets out of one answer: as they stand, URL-encoded, in base64 at any offset, and
    escaped for JSON.

    A stream goes through `feed` and `end`. Of a piece only such last bytes are held back as may be the
    beginning of a secret: never more than its form is long less one byte, and mostly none. `hits` counts in how
    many forms it was found.
    """

    __slots__ = ("_bytes", "_firsts", "_forms", "_held", "_longest", "_names", "hits")

    def __init__(self, secrets: Mapping[str, Secret]) -> None:
        found: set[bytes] = set()
        self._names = []
        for secret in secrets.values():
            value = secret.reveal()
            if len(value) >= MIN_LENGTH:
                self._names.append(value.lower().encode(errors="surrogatepass"))
                found.update(form for form in _forms(value) if len(form) >= MIN_LENGTH)
        self._forms = sorted(found, key=len, reverse=True)
        self._firsts = {form[:1] for form in found}
        self._bytes = frozenset(b"".join(form[:-1] for form in found))
        self._longest = len(self._forms[0]) if self._forms else 0
        self._held = b""
        self.hits = 0

    def __repr__(self) -> str:
        return "<guard>"

    def clean(self, data: bytes) -> bytes:
        """Return the bytes with the mark in the place of each secret; themselves if they have none."""
        for form in self._forms:
            if form in data:
                data = data.replace(form, MARK)
                self.hits += 1
        return data

    def feed(self, piece: bytes) -> bytes:
        """Take a piece of a stream and return what may go on at once."""
        data = self.clean(self._held + piece if self._held else piece)
        start = self._beginning(data)
        self._held = data[start:]
        return data[:start] if self._held else data

    def end(self) -> bytes:
        """Return what was held back: no secret came of it."""
        held, self._held = self._held, b""
        return held

    @property
    def holds(self) -> bool:
        """Whether something is held back."""
        return bool(self._held)

    def headers(self, headers: Headers) -> Headers:
        """Return an answer's headers without the secret. One that is named for it is left out."""
        values = b"\n".join([value for _, value in headers])
        if self.clean(values) is not values:
            headers = [(name, self.clean(value)) for name, value in headers]
        names = b"\n".join([name for name, _ in headers])
        if any(form in names for form in self._names):
            headers = [(name, value) for name, value in headers if not any(form in name for form in self._names)]
        return headers

    def told(self, value: Any) -> Any:
        """Return a text, or the texts in lists and mappings, without the secret."""
        if isinstance(value, str):
            return self.clean(value.encode("utf-8", "replace")).decode("utf-8", "replace")
        if isinstance(value, Mapping):
            return {self.told(name): self.told(inner) for name, inner in value.items()}
        return [self.told(inner) for inner in value] if isinstance(value, list) else value

    def _beginning(self, data: bytes) -> int:
        """Return where an end of the data begins that may be the beginning of a form."""
        first = len(data)
        if not data or data[-1] not in self._bytes:
            return first
        lowest = max(0, first - self._longest + 1)
        for byte in self._firsts:
            place = data.find(byte, lowest)
            while 0 <= place < first:
                rest = data[place:]
                if any(form.startswith(rest) for form in self._forms):
                    first = place
                    break
                place = data.find(byte, place + 1)
        return first


def guard_of(manifest: Manifest, fields: Mapping[str, Secret]) -> Guard:
    """Return a guard for the secret ones of a credential's fields."""
    open_ones = {field.name for field in manifest.fields if not field.secret}
    return Guard({name: secret for name, secret in fields.items() if name not in open_ones})


def _forms(value: str) -> Iterator[bytes]:
    raw = value.encode(errors="surrogatepass")
    yield raw
    if not _PLAIN.fullmatch(value):
        for escaped in (quote(raw, safe=""), quote(raw), quote(raw, safe=_IN_SEGMENT), quote_plus(raw)):
            yield escaped.encode()
            yield _ESCAPE.sub(lambda hit: hit[0].lower(), escaped.encode())
        for written in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
            inner = written[1:-1].encode(errors="surrogatepass")
            yield inner
            yield inner.replace(b"/", b"\\/")
    for offset in range(3):
        # Without the characters into which the bits of its neighbours run.
        inside = slice(-(-8 * offset // 6), 8 * (offset + len(raw)) // 6)
        padded = bytes(offset) + raw
        encoded = base64.b64encode(padded)[inside]
        yield encoded
        yield encoded.replace(b"+", b"-").replace(b"/", b"_")


# --- Answers that come compressed although they were asked not to ---------------------------------


class Reader(Protocol):
    """Reads an answer's pieces as they would be without compression."""

    def pieces(self, data: bytes) -> Iterator[bytes]: ...

    def end(self) -> None: ...


class _AsIs:
    def pieces(self, data: bytes) -> Iterator[bytes]:
        if data:
            yield data

    def end(self) -> None:
        """An answer without compression ends where it ends."""


class _Inflating:
    """Undoes gzip (RFC 1952) and deflate (RFC 1950), in pieces of a bounded size."""

    def __init__(self, coding: bytes) -> None:
        self._wbits = 15 if coding == b"deflate" else 31
        self._inflate = zlib.decompressobj(wbits=self._wbits)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Yield what the data holds. Raises ProviderUnavailable if it is not what it says it is."""
        more = bool(data)
        while more:
            if self._inflate.eof:  # a file of gzip may have several members
                self._inflate = zlib.decompressobj(wbits=self._wbits)
            try:
                piece = self._inflate.decompress(data, PIECE)
            except zlib.error:
                raise _unreadable() from None
            if piece:
                yield piece
            data = self._inflate.unconsumed_tail or self._inflate.unused_data
            more = bool(data) or (len(piece) == PIECE and not self._inflate.eof)

    def end(self) -> None:
        """Raise ProviderUnavailable if there should have been more."""
        if not self._inflate.eof:
            raise _unreadable()


def coding_of(headers: Headers) -> bytes:
    """Return the compression of an answer; empty if it has none."""
    codings = [value.strip().lower() for name, value in headers if name.lower() == b"content-encoding"]
    return b",".join(one for one in codings if one not in (b"", b"identity"))


def reader_for(coding: bytes) -> Reader:
    """Return what reads an answer of this compression. Raises ProviderUnavailable for one that cannot be looked
    into: what cannot be searched for the secret does not go back."""
    if not coding:
        return _AsIs()
    if coding not in (b"gzip", b"x-gzip", b"deflate"):
        raise ProviderUnavailable(
            "The provider compressed its answer in a way that this gateway does not read, although it was asked not to."
        )
    return _Inflating(coding)


def without_coding(headers: Headers) -> Headers:
    """Return the headers of an answer whose compression was undone; what was computed over the compressed bytes
    is left out."""
    gone = (b"content-encoding", b"content-md5", b"digest", b"content-digest", b"repr-digest", b"etag")
    return [(name, value) for name, value in headers if name.lower() not in gone]


def _unreadable() -> ProviderUnavailable:
    return ProviderUnavailable("The provider's answer says that it is compressed, but cannot be read.")
