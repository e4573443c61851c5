"""Credentials in every place of a request: taken from where a caller put the access token, put where the provider
wants its key."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from digitalme.errors import InvalidRequest
from providers import auth, forms
from providers.manifest import Auth, Inlet, Manifest
from providers.secrets import Secret

# What may stand unescaped in a segment (RFC 3986, 3.3).
_IN_SEGMENT = ":@!$&'()*+,;=-._~"
Looks = Callable[[str], bool]


@dataclass(slots=True)
class Outgoing:
    """A request on its way to a provider: path with query as they go out, header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


# --- The caller's access token -------------------------------------------------------------------


@dataclass(slots=True)
class Incoming:
    """A caller's request as far as a token may stand in it; `take_from_address` and `take_from_body` cut it out.

    `path` is as it came, encoded. `inlet` tells where the token stood that was found.
    """

    path: str
    query: str
    content_type: str = ""
    body: bytes = b""
    token: str = ""
    inlet: Inlet | None = None

    def _found(self, token: str, inlet: Inlet) -> None:
        if not self.token:
            self.token, self.inlet = token, inlet


def take_from_address(manifest: Manifest, request: Incoming, looks: Looks) -> None:
    """Cut the access token out of path and query, where the definition lets it stand there."""
    for inlet in manifest.inlets:
        if inlet.place == "path":
            _take_from_path(manifest, request, inlet, looks)
        elif inlet.place == "query" and request.query:
            request.query = _take_parameter(request, request.query, inlet, looks)


def take_from_body(manifest: Manifest, request: Incoming, looks: Looks) -> None:
    """Cut the access token out of the body, where the definition lets it stand there."""
    for inlet in manifest.inlets:
        if inlet.place == "json" and "json" in request.content_type.lower():
            _take_member(request, inlet, looks)
        elif inlet.place == "form" and (boundary := forms.boundary_of(request.content_type)):
            parts = forms.parts(request.body, boundary)
            kept = [part for part in parts if not _is_token(request, part, inlet, looks)]
            if len(kept) < len(parts):
                request.body = forms.joined(kept, boundary)
        elif inlet.place == "form" and request.content_type.lower().startswith(forms.PLAIN):
            text = _take_parameter(request, request.body.decode("latin-1"), inlet, looks)
            request.body = text.encode("latin-1")


def in_body(manifest: Manifest, content_type: str) -> bool:
    """Whether the access token may stand in a body of this type."""
    kind = content_type.lower()
    return any(
        (inlet.place == "json" and "json" in kind)
        or (inlet.place == "form" and (kind.startswith(forms.PLAIN) or forms.boundary_of(content_type) != b""))
        for inlet in manifest.inlets
    )


def _take_from_path(manifest: Manifest, request: Incoming, inlet: Inlet, looks: Looks) -> None:
    for prefix in manifest.prefixes:
        if request.path.startswith(prefix):
            segment, slash, rest = request.path[len(prefix) :].partition("/")
            if looks(unquote(segment)):
                request._found(unquote(segment), inlet)
                request.path = prefix + slash + rest
                return


def _take_parameter(request: Incoming, text: str, inlet: Inlet, looks: Looks) -> str:
    kept = []
    for pair in text.split("&"):
        name, _, value = pair.partition("=")
        if unquote_plus(name) == inlet.name and looks(unquote_plus(value)):
            request._found(unquote_plus(value), inlet)
        else:
            kept.append(pair)
    return "&".join(kept)


def _take_member(request: Incoming, inlet: Inlet, looks: Looks) -> None:
    try:
        value = json.loads(request.body)
    except (ValueError, RecursionError):
        return
    token = value.get(inlet.name) if isinstance(value, dict) else None
    if isinstance(token, str) and looks(token):
        request._found(token, inlet)
        del value[inlet.name]
        request.body = json.dumps(value, separators=(",", ":")).encode()


def _is_token(request: Incoming, part: bytes, inlet: Inlet, looks: Looks) -> bool:
    head, _, content = part.partition(b"\r\n\r\n")
    if forms.name_of(head) != inlet.name or len(content) > 200:
        return False
    token = content.decode("latin-1")
    if not looks(token):
        return False
    request._found(token, inlet)
    return True


# --- The provider's credential -------------------------------------------------------------------


def place_in(
    manifest: Manifest,
    fields: Mapping[str, Secret],
    request: Outgoing,
    *,
    only: Auth | None = None,
    came_in: Inlet | None = None,
) -> None:
    """Put the credential where the definition says (or just where `only` does), in the place of whatever
    stood there.

    Of several places that fit, the one wins in which the caller's token came in. Raises InvalidKeyFormat for
    a stored value that cannot stand there or has none of the fields needed, InvalidRequest for a body that
    cannot take it.
    """
    auth.strip(manifest, request.headers)
    path = request.path.partition("?")[0]
    for one in (only,) if only else auth.chosen(manifest, fields, path, came_in):
        if one.place == "none":
            continue
        value = auth.printable(fields[one.field])
        if one.in_headers:
            auth.write_header(one, value, request.headers)
        elif one.place == "query":
            request.path = _with_query(request.path, one.name, value)
        elif one.place == "path":
            request.path = _with_segment(one.prefixes, request.path, value)
        elif one.place == "json":
            _put_member(request, one.name, value)
        else:
            _put_form(request, one.name, value)


def _with_query(path_and_query: str, name: str, value: str) -> str:
    path, _, query = path_and_query.partition("?")
    return f"{path}?{_with_parameter(query, name, value)}"


def _with_parameter(text: str, name: str, value: str) -> str:
    kept = [pair for pair in text.split("&") if pair and unquote_plus(pair.partition("=")[0]) != name]
    return "&".join([*kept, f"{quote_plus(name)}={quote_plus(value)}"])


def _with_segment(prefixes: tuple[str, ...], path: str, value: str) -> str:
    for prefix in sorted(prefixes, key=len, reverse=True):
        if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("/", "?", ""):
            return f"{prefix}{quote(value, safe=_IN_SEGMENT)}{path[len(prefix) :]}"
    raise InvalidRequest("This path has no place for the key.")


def _put_member(request: Outgoing, name: str, value: str) -> None:
    try:
        body: Any = json.loads(request.body) if request.body.strip() else {}
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise InvalidRequest("The request's body must be a JSON object.")
    request.body = json.dumps({**body, name: value}, separators=(",", ":")).encode()
    request.headers.setdefault("content-type", "application/json")


def _put_form(request: Outgoing, name: str, value: str) -> None:
    kind = request.headers.get("content-type", "")
    if boundary := forms.boundary_of(kind):
        parts = [part for part in forms.parts(request.body, boundary) if forms.name_of(part) != name]
        field = f'\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}'
        request.body = forms.joined([field.encode("latin-1"), *parts], boundary)
    elif not request.body or kind.lower().startswith(forms.PLAIN):
        request.body = _with_parameter(request.body.decode("latin-1"), name, value).encode("latin-1")
        request.headers["content-type"] = kind or forms.PLAIN
    else:
        raise InvalidRequest("This provider takes a form: send the fields as a form, not as another kind of body.")
