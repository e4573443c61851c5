"""Which headers pass in each direction, what a key may look like, and where it goes."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from digitalme.errors import InvalidKeyFormat
from providers import google, patterns
from providers.manifest import Auth, Field, Inlet, Manifest
from providers.operations import fits
from providers.secrets import Secret

MAX_KEY_LENGTH = patterns.MAX_VALUE
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
# Control characters, and half a surrogate pair, which cannot be encoded.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

# Hop by hop (RFC 9110, 7.6.1), and what the connection sets by itself.
_HOP = frozenset(
    b"connection host content-length keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer"
    b" trailers transfer-encoding upgrade expect http2-settings".split()
)
# Whatever may carry the caller's own credential, origin or network position.
_NOT_UP = _HOP | frozenset(
    b"authorization x-api-key api-key x-goog-api-key cookie cookie2 origin referer forwarded via x-real-ip"
    b" true-client-ip accept-encoding x-http-method-override x-original-url x-rewrite-url".split()
)
_NOT_UP_PREFIXES = (b"x-forwarded-", b"x-digitalme-", b"sec-", b"proxy-", b"cf-", b"access-control-")
# Whatever speaks for another origin, or steers the browser or a proxy in front.
_NOT_BACK = _HOP | frozenset(
    b"set-cookie set-cookie2 location content-location refresh server date via alt-svc strict-transport-security"
    b" content-security-policy content-security-policy-report-only clear-site-data www-authenticate x-sendfile"
    b" x-powered-by nel report-to reporting-endpoints service-worker-allowed sourcemap x-sourcemap"
    b" public-key-pins expect-ct x-content-type-options".split()
)
_NOT_BACK_PREFIXES = (b"x-accel-", b"access-control-", b"x-digitalme-", b"cross-origin-", b"proxy-", b"x-lighttpd-")
# A caller that takes gzip; the weight 0 says that it does not (RFC 9110, 12.5.3).
_GZIP = re.compile(rb"(?:^|[,\s])(?:gzip|\*)(?!\s*;\s*q\s*=\s*0(?:\.0*)?\s*(?:,|$))", re.IGNORECASE)
_NOSNIFF = (b"x-content-type-options", b"nosniff")


@lru_cache(maxsize=1024)
def _up(name: bytes) -> str:
    """Return the header's name as it goes upstream, or nothing if it does not."""
    low = name.lower()
    return "" if low in _NOT_UP or low.startswith(_NOT_UP_PREFIXES) else low.decode("latin-1")


@lru_cache(maxsize=1024)
def _back(name: bytes) -> bytes:
    low = name.lower()
    return b"" if low in _NOT_BACK or low.startswith(_NOT_BACK_PREFIXES) else low


def forwardable(headers: Iterable[tuple[bytes, bytes]], *, compressed: bool = False) -> dict[str, str]:
    """Return the request headers that may go upstream, names in lower case.

    Credentials, cookies, origin, forwarding and hop-by-hop headers stay here. The answer is asked for
    uncompressed, because it is metered; one of which nothing need be known may come `compressed`, if the caller
    takes that.
    """
    passed: dict[str, str] = {}
    coding = "identity"
    for name, value in headers:
        if low := _up(name):
            text = value.decode("latin-1")
            passed[low] = f"{passed[low]}, {text}" if low in passed else text
        elif name == b"connection" and value.lower() not in (b"keep-alive", b"close"):
            return forwardable(_without_named(headers), compressed=compressed)
        elif compressed and name == b"accept-encoding" and _GZIP.search(value):
            coding = "gzip"
    passed["accept-encoding"] = coding
    return passed


def _without_named(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Drop the headers that `Connection` declares to be hop by hop."""
    given = list(headers)
    named = {part.strip().lower() for name, value in given if name == b"connection" for part in value.split(b",")}
    return [(name, value) for name, value in given if name != b"connection" and name.lower() not in named]


def returnable(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the response headers that may go back, names in lower case, without content-length.

    Nothing that a provider sends may act as if this server had said it: no cookies, redirects or
    browser policies; HTML becomes plain text.
    """
    passed = [_NOSNIFF]
    for name, value in headers:
        if low := _back(name):
            if low == b"content-type" and b"html" in value.lower():
                value = b"text/plain; charset=utf-8"
            passed.append((low, value))
    return passed


def inject(manifest: Manifest, fields: Mapping[str, Secret], headers: dict[str, str]) -> None:
    """Put the credential into the headers, in the place of whatever stood there, for a definition that uses
    no other place.

    `headers` has names in lower case and is changed. Raises InvalidKeyFormat for a stored value that
    cannot be a header.
    """
    strip(manifest, headers)
    for one in chosen(manifest, fields):
        if one.place != "none":
            write_header(one, printable(fields[one.field]), headers)


def strip(manifest: Manifest, headers: dict[str, str]) -> None:
    """Take out whatever may be a credential of the caller's."""
    for name in ("authorization", "x-api-key", *manifest.strip_headers):
        headers.pop(name, None)


def chosen(
    manifest: Manifest, fields: Mapping[str, Secret], path: str = "", came_in: Inlet | None = None
) -> list[Auth]:
    """Return where a credential goes for this path: the first place that fits, or the one in which the caller's
    token came in, and the extra ones. Raises InvalidKeyFormat if none fits."""
    if manifest.plain_auth is not None and manifest.plain_auth.field in fields:
        return [manifest.plain_auth]
    fitting = [one for one in manifest.auths if _fits(one, fields, path)]
    main = [one for one in fitting if not one.extra]
    if not main and manifest.needs_key:
        raise InvalidKeyFormat("The stored key has none of the fields that this call needs. Enter it again.")
    if came_in:
        main.sort(key=lambda one: (one.place, one.name) != (came_in.place, came_in.name))
    return main[:1] + [one for one in fitting if one.extra]


def _fits(one: Auth, fields: Mapping[str, Secret], path: str) -> bool:
    if one.paths and not fits(one.paths, path):
        return False
    if one.place == "none":
        return True
    if one.field not in fields:
        return False
    return one.when is None or one.when.fullmatch(fields[one.field].reveal()) is not None


def printable(secret: Secret) -> str:
    """Return the secret's value. Raises InvalidKeyFormat unless it is printable ASCII without spaces."""
    value = secret.reveal()
    if not _PRINTABLE.fullmatch(value):
        raise InvalidKeyFormat("The stored key has characters that no key has. Enter it again.")
    return value


def write_header(one: Auth, value: str, headers: dict[str, str]) -> None:
    """Write a credential into its header."""
    headers[one.name] = f"{one.scheme} {value}" if one.scheme else value


def clean_key(value: str) -> str:
    """Return the key without surrounding white space.

    Raises InvalidKeyFormat, whose message never has the value, unless 1 to 8192 printable ASCII
    characters without spaces are left: anything else breaks headers, and HTTP clients print it.
    """
    value = value.strip()
    if not value:
        raise InvalidKeyFormat("The key is empty. Paste it again.")
    if len(value) > MAX_KEY_LENGTH:
        raise InvalidKeyFormat(f"The key is longer than {MAX_KEY_LENGTH} characters. Paste the key alone.")
    if not _PRINTABLE.fullmatch(value):
        raise InvalidKeyFormat(
            "The key has a space, a line break or a character that keys never have. Copy it again, without quotes."
        )
    return value


def clean(field: Field, value: str) -> str:
    """Return what was entered into a field without surrounding white space. Raises InvalidKeyFormat, whose
    message never has the value."""
    if field.kind == "google_service_account" and value.strip():
        return clean_key(google.compact(value))
    if not field.free:
        return clean_key(value)
    value = value.strip()
    if not value:
        raise InvalidKeyFormat(f"The {field.label} is empty. Enter it again.")
    if len(value) > MAX_KEY_LENGTH or _CONTROL.search(value):
        raise InvalidKeyFormat(
            f"The {field.label} has a line break or another character that cannot be, or is too long."
        )
    return value


def check_format(field: Field, value: str) -> None:
    """Raise InvalidKeyFormat, without the value, unless it looks like what this field wants."""
    if not re.fullmatch(field.pattern, clean(field, value)):
        example = f" (such as {field.example})" if field.example else ""
        raise InvalidKeyFormat(f"This is not a valid {field.label}{example}. {field.help}".rstrip(), field=field.name)


def _check_client(manifest: Manifest, fields: Mapping[str, Secret]) -> None:
    """Refuse a refresh token without the client that it was given to, and a client's secret without one."""
    renewing = next((one for one in manifest.signers if one.kind == "google_refresh_token"), None)
    if renewing is None:
        return
    wanted = (google.CLIENT_ID, google.CLIENT_SECRET) if renewing.name in fields else ()
    needed = wanted or ((renewing.name,) if google.CLIENT_SECRET in fields else ())
    for name in needed:
        if name not in fields:
            label = next(one.label for one in manifest.fields if one.name == name)
            raise InvalidKeyFormat(f"The {label} is missing. It goes with what else you entered.", field=name)


def check_fields(manifest: Manifest, fields: Mapping[str, Secret]) -> None:
    """Raise InvalidKeyFormat, without a value, unless every field that the provider needs is there, each looks
    right, and one of the ways to use them fits."""
    for field in manifest.fields:
        if field.name in fields:
            check_format(field, fields[field.name].reveal())
        elif field.required:
            raise InvalidKeyFormat(f"The {field.label} is missing.", field=field.name)
    _check_client(manifest, fields)
    given = fields.keys() | {field.gives for field in manifest.fields if field.name in fields}
    if (
        manifest.fields
        and not manifest.adapter
        and not any(not one.extra and one.field in given for one in manifest.auths if one.place != "none")
    ):
        used = {one.field for one in manifest.auths} - {""}
        usable = [field for field in manifest.fields if not field.required and used & {field.name, field.gives}]
        wanted = " or ".join(field.label for field in usable)
        raise InvalidKeyFormat(f"Enter one of these: {wanted}.", field=manifest.fields[0].name)
