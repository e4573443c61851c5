"""What a provider definition says, read strictly from TOML."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from providers import rules, schema, shape
from providers.agreement import Agreement
from providers.operations import Dialect, Operation, Routes, UsagePaths
from providers.rules import ALWAYS, Condition, ErrorRule, Failure

__all__ = ["Auth", "Check", "Dialect", "Field", "Host", "Manifest", "ManifestProblem", "Operation", "Rewrite"]
Place = Literal["bearer", "token", "header", "query", "form", "json", "path", "none"]
ErrorShape = Literal[
    "openai", "anthropic", "slack", "github", "telegram", "clickup", "twocaptcha", "google", "jsonrpc", "problem"
]
_IN_HEADERS = ("bearer", "token", "header", "none")
_SCHEMES = {"bearer": "Bearer", "token": "token"}
MAX_BYTES = 200_000
_HOST_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
Value = TypeVar("Value")


class ManifestProblem(Exception):
    """A provider definition that cannot be used; each of its lines names file, key and remedy."""


@dataclass(frozen=True, slots=True)
class Field:
    """One thing a person enters to connect a provider."""

    name: str
    label: str
    secret: bool
    pattern: str
    example: str
    help: str
    required: bool = True
    free: bool = False
    kind: str = "key"
    gives: str = ""


@dataclass(frozen=True, slots=True)
class Auth:
    """Where a credential goes.

    `name` is the header (in lower case), parameter or member that takes it; `scheme` a word before it. It
    applies to values that match `when` and to these `paths`; empty ones do not restrict it. With `extra` it
    goes besides the main one. For the place "path" it follows one of the `prefixes`.
    """

    place: Place
    field: str = ""
    name: str = ""
    scheme: str = ""
    when: re.Pattern[str] | None = None
    paths: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    extra: bool = False

    @property
    def in_headers(self) -> bool:
        """Whether nothing but headers is touched."""
        return self.place in _IN_HEADERS


@dataclass(frozen=True, slots=True)
class Host:
    """A further host: paths that begin with the prefix go there, with or without it."""

    prefix: str
    base_url: str
    strip: bool

    def takes(self, path: str) -> bool:
        """Whether a path goes there."""
        return self.at(path) is not None

    def at(self, path: str) -> tuple[str, str] | None:
        """Return the address of the host that a path goes to and the path as it is there; None if it goes to
        another one."""
        prefix, base_url = self.prefix, self.base_url
        if prefix.startswith("/*"):
            name, dot, domain = path[1:].partition("/")[0].partition("?")[0].partition(".")
            if not _HOST_NAME.fullmatch(name) or f"/*{dot}{domain}" != prefix:
                return None
            prefix, base_url = f"/{name}.{domain}", f"https://{name}.{domain}"
        if not path.startswith(prefix) or path[len(prefix) : len(prefix) + 1] not in ("", "/", "?"):
            return None
        rest = path[len(prefix) :]
        return base_url, (rest if rest.startswith("/") else f"/{rest}") if self.strip else path


@dataclass(frozen=True, slots=True)
class Fact:
    """What a good answer to the check tells about a credential, and where."""

    label: str
    json: tuple[str, ...]
    header: str


@dataclass(frozen=True, slots=True)
class Check:
    """The cheapest request that proves a credential, and what its answers mean.

    It is for credentials that have `field`, if one is named. `auth` is where the credential goes in this
    request, if not where it goes otherwise.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""
    field: str = ""
    auth: Auth | None = None
    success: Condition = ALWAYS
    errors: tuple[ErrorRule, ...] = ()
    code: tuple[tuple[str, ...], ...] = ()
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True)
class Scope:
    """Something that a person may allow, and what that means."""

    name: str
    about: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Revocation:
    """The request that gives a grant back; `{client_id}` in its address is the app's."""

    method: Literal["POST", "DELETE"]
    url: str
    place: Literal["form", "json", "bearer"]
    name: str
    token: Literal["access", "refresh"]
    client_auth: Literal["none", "basic"]
    # Whether it ends all grants of the same person to the app, not the one alone that the token is of.
    whole: bool


@dataclass(frozen=True, slots=True)
class OAuth:
    """How people connect by consent: the access token it gives becomes `field`."""

    authorize_url: str
    token_url: str
    field: str
    pkce: bool
    client_auth: Literal["post", "basic"]
    separator: str
    parameters: Mapping[str, str]
    scopes: tuple[Scope, ...]
    revoke: Revocation | None


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Which addresses in answers lead through this server: in headers, and in JSON members, of which
    `tickets` are called without a key."""

    headers: frozenset[str] = frozenset()
    fields: tuple[str, ...] = ()
    tickets: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Inlet:
    """Where else the caller's access token may stand."""

    place: Place
    name: str = ""


@dataclass(frozen=True)
class Manifest:
    """A provider definition. `price_provider` is None for what costs nothing by tokens; `several` tells that
    an owner may keep several credentials, each with a label of its own; `adapter` names the code that answers
    in its place, if there is one (providers.adapters)."""

    slug: str
    name: str
    help_url: str
    help_text: str
    needs_key: bool
    base_url: str
    fields: tuple[Field, ...]
    auths: tuple[Auth, ...]
    adapter: str
    error_shape: ErrorShape
    operations: tuple[Operation, ...]
    checks: tuple[Check, ...]
    price_provider: str | None
    strip_headers: frozenset[str]
    inlets: tuple[Inlet, ...]
    several: bool
    hosts: tuple[Host, ...]
    failures: tuple[Failure, ...]
    rewrite: Rewrite | None
    oauth: OAuth | None
    # What the gateway asks at every call, worked out once.
    prefixes: tuple[str, ...] = field(init=False, repr=False, compare=False)
    header_only: bool = field(init=False, repr=False, compare=False)
    plain_auth: Auth | None = field(init=False, repr=False, compare=False)
    routes: Routes = field(init=False, repr=False, compare=False)
    # The fields with which access tokens are fetched.
    signers: tuple[Field, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found = {one: None for auth in self.auths for one in auth.prefixes}
        object.__setattr__(self, "prefixes", tuple(sorted(found, key=len, reverse=True)))
        object.__setattr__(self, "header_only", all(auth.in_headers and not auth.paths for auth in self.auths))
        plain = (
            len(self.auths) == 1 and self.auths[0].place != "none" and not (self.auths[0].when or self.auths[0].paths)
        )
        object.__setattr__(self, "plain_auth", self.auths[0] if plain else None)
        object.__setattr__(self, "signers", tuple(one for one in self.fields if one.gives))
        object.__setattr__(self, "routes", Routes(self.operations))

    def match(self, method: str, path: str) -> Operation | None:
        """Return the operation that this request is; exact paths win over those with a pattern."""
        return self.routes.match(method, path)

    def field(self, name: str) -> Field | None:
        """Return the field of that name."""
        return next((one for one in self.fields if one.name == name), None)

    def main(self, fields: Mapping[str, Value]) -> Value:
        """Return the field that a credential is recognised by: its first secret one, else its first."""
        given = sorted((one for one in self.fields if one.name in fields), key=lambda one: not one.secret)
        return fields[given[0].name]

    def signer_of(self, fields: Mapping[str, Any]) -> Field | None:
        """Return the field with which an access token has to be fetched for a credential that has these fields."""
        for one in self.signers:
            if one.name in fields and one.gives not in fields:
                return one
        return None

    def check_for(self, fields: Mapping[str, Any]) -> Check | None:
        """Return the check for a credential that has these fields."""
        return next((one for one in self.checks if not one.field or one.field in fields), None)

    @property
    def origins(self) -> tuple[str, ...]:
        """Every origin that a credential may be sent to."""
        return tuple(
            dict.fromkeys((*((self.base_url,) if self.base_url else ()), *(one.base_url for one in self.hosts)))
        )


def load(path: Path) -> Manifest:
    """Read a definition from a file. Raises ManifestProblem."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise ManifestProblem(f"{path.name}: the file cannot be read; check its place and encoding.") from problem
    return read(text, path.name)


def read(text: str, where: str) -> Manifest:
    """Read a definition from its text; `where` names it in errors. Raises ManifestProblem."""
    if len(text) > MAX_BYTES:
        raise ManifestProblem(f"{where}: a definition has up to {MAX_BYTES} characters; shorten it.")
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as problem:
        raise ManifestProblem(f"{where}: this is not valid TOML: {problem}.") from problem
    return parse(values, where, text)


def parse(values: Mapping[str, Any], where: str, text: str = "") -> Manifest:
    """Return the definition in these values; `where` names them in errors, and `text`, if given, tells their
    lines. Raises ManifestProblem with everything that is wrong."""
    reader = shape.Reader()
    given = reader.table(schema.DEFINITION, values)
    if not reader.problems:
        Agreement(reader, given).check()
    if reader.problems:
        raise ManifestProblem("\n".join(problem.sentence(where, text) for problem in reader.problems))
    return _manifest(given)


def _manifest(given: Mapping[str, Any]) -> Manifest:
    return Manifest(
        slug=given["slug"],
        name=given["name"],
        help_url=given["help_url"],
        help_text=given["help_text"],
        needs_key=given["needs_key"],
        base_url=given["base_url"],
        fields=tuple(Field(**one) for one in given["fields"]),
        auths=tuple(_auth(one) for one in given["auth"]),
        adapter=given["adapter"],
        error_shape=cast(ErrorShape, given["error_shape"]),
        operations=tuple(_operation(one) for one in given["operations"]),
        checks=tuple(_check(one) for one in given["check"]),
        price_provider=given["price_provider"] or None,
        strip_headers=frozenset(given["strip_headers"]) | _inlet_headers(given["accepts_token_in"]),
        inlets=tuple(_inlet(one) for one in given["accepts_token_in"]),
        several=given["several"],
        hosts=tuple(Host(**one) for one in given["hosts"]),
        failures=tuple(Failure(rules.condition(one), rules.names(one["error"])) for one in given["failures"]),
        rewrite=_rewrite(given["rewrite"]),
        oauth=_oauth(given["oauth"]),
    )


def _auth(given: Mapping[str, Any]) -> Auth:
    place, name = cast(Place, given["place"]), given["name"]
    return Auth(
        place=place,
        field=given["field"],
        name="authorization" if place in _SCHEMES else name.lower() if place == "header" else name,
        scheme=_SCHEMES.get(place, given["scheme"]),
        when=re.compile(given["when"]) if given["when"] else None,
        paths=given["paths"],
        prefixes=given["prefixes"],
        extra=given["extra"],
    )


def _inlet(text: str) -> Inlet:
    place, _, name = text.partition(":")
    return Inlet(cast(Place, place), name)


def _inlet_headers(texts: tuple[str, ...]) -> frozenset[str]:
    """The caller's token never goes to the provider, wherever it stood."""
    return frozenset(text.partition(":")[2] for text in texts if text.startswith("header:"))


def _operation(given: Mapping[str, Any]) -> Operation:
    usage = given["usage"]
    return Operation(
        name=given["name"],
        methods=given["method"],
        path=given["path"],
        dialect=cast(Dialect, given["dialect"]),
        system=given["system"],
        requests=given["requests"],
        unit_price=Decimal(given["unit_price"]) if given["unit_price"] else None,
        output_limit=given["output_limit"],
        ask_usage=given["ask_usage"],
        usage=UsagePaths(**{name: tuple(map(rules.names, paths)) for name, paths in usage.items()}) if usage else None,
    )


def _check(given: Mapping[str, Any]) -> Check:
    return Check(
        method=given["method"],
        path=given["path"],
        headers=given["headers"] or {},
        body=given["body"].encode(),
        field=given["field"],
        auth=_auth(given["auth"]) if given["auth"] else None,
        success=rules.condition(given["success"]) if given["success"] else ALWAYS,
        errors=tuple(ErrorRule(rules.condition(one), one["category"], one["message"]) for one in given["errors"]),
        code=tuple(rules.names(path) for path in given["code"]),
        facts=tuple(Fact(one["label"], rules.names(one["json"]), one["header"]) for one in given["facts"]),
    )


def _oauth(given: Mapping[str, Any] | None) -> OAuth | None:
    if not given:
        return None
    return OAuth(
        **{
            **given,
            "parameters": given["parameters"] or {},
            "scopes": tuple(Scope(**one) for one in given["scopes"]),
            "revoke": Revocation(**given["revoke"]) if given["revoke"] else None,
        }
    )


def _rewrite(given: Mapping[str, Any] | None) -> Rewrite | None:
    if not given:
        return None
    return Rewrite(frozenset(given["headers"]), given["fields"], frozenset(given["tickets"]))
