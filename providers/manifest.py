"""What a provider definition may say, read strictly from TOML."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

Dialect = Literal["openai_chat", "openai_responses", "openai_embeddings", "anthropic_messages", "none"]
ErrorShape = Literal["openai", "anthropic"]
DIALECTS = ("openai_chat", "openai_responses", "openai_embeddings", "anthropic_messages", "none")
_SLUG = re.compile(r"[a-z][a-z0-9]{1,31}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_HEADER = re.compile(r"[a-z0-9-]{1,64}")
_PATH = re.compile(r"(/[A-Za-z0-9_.-]+)+(/\*)?")


class ManifestProblem(Exception):
    """A provider definition that cannot be used; the message names file, key and remedy."""


@dataclass(frozen=True, slots=True)
class Field:
    """One thing a person enters to connect a provider."""

    name: str
    label: str
    secret: bool
    pattern: str
    example: str
    help: str


@dataclass(frozen=True, slots=True)
class Auth:
    """Where the credential goes: `bearer` (Authorization), `header` (the named one) or `none`."""

    place: Literal["bearer", "header", "none"]
    field: str = ""
    header: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that a provider does: which requests it takes and how they are metered.

    `path` follows the provider's slug; a final `/*` stands for any rest. `system` says whether the
    house's own key may serve it; `requests` is what one call counts as.
    """

    name: str
    method: str
    path: str
    dialect: Dialect
    system: bool
    requests: int


@dataclass(frozen=True, slots=True)
class Check:
    """The cheapest request that proves a credential, and headers that it needs."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Manifest:
    """A provider definition. `price_provider` is None for what costs nothing; `several` tells that an owner
    may keep several credentials, each with a label of its own."""

    slug: str
    name: str
    help_url: str
    help_text: str
    needs_key: bool
    base_url: str
    fields: tuple[Field, ...]
    auth: Auth
    error_shape: ErrorShape
    operations: tuple[Operation, ...]
    check: Check | None
    price_provider: str | None
    strip_headers: frozenset[str]
    accepts_token_in: tuple[str, ...]
    several: bool
    _exact: dict[tuple[str, str], Operation] = field(init=False, repr=False, compare=False)
    _prefixes: tuple[tuple[str, str, Operation], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        whole = {(one.method, one.path): one for one in self.operations if not one.path.endswith("*")}
        begun = tuple((one.method, one.path[:-1], one) for one in self.operations if one.path.endswith("*"))
        object.__setattr__(self, "_exact", whole)
        object.__setattr__(self, "_prefixes", begun)

    def match(self, method: str, path: str) -> Operation | None:
        """Return the operation that this request is; exact paths win over those with a `*`."""
        found = self._exact.get((method, path))
        if found is not None:
            return found
        for verb, prefix, operation in self._prefixes:
            if verb == method and path.startswith(prefix) and len(path) > len(prefix):
                return operation
        return None

    def field(self, name: str) -> Field | None:
        """Return the field of that name."""
        return next((one for one in self.fields if one.name == name), None)


class _Table:
    """One TOML table; every key must be asked for, so that a misspelt one is found."""

    def __init__(self, where: str, values: Mapping[str, Any]) -> None:
        self.where = where
        self.values = dict(values)

    def fail(self, key: str, remedy: str) -> ManifestProblem:
        return ManifestProblem(f"{self.where}: '{key}' {remedy}")

    def text(self, key: str, default: str | None = None, pattern: re.Pattern[str] | None = None) -> str:
        value = self.values.pop(key, default)
        if not isinstance(value, str):
            raise self.fail(key, "is missing or not a text; write it as a quoted string.")
        if pattern and not pattern.fullmatch(value):
            raise self.fail(key, f"must match {pattern.pattern}; change it.")
        return value

    def one_of(self, key: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        value = self.text(key, default)
        if value not in allowed:
            raise self.fail(key, f"must be one of {', '.join(allowed)}.")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.values.pop(key, default)
        if not isinstance(value, bool):
            raise self.fail(key, "must be true or false.")
        return value

    def count(self, key: str, default: int) -> int:
        value = self.values.pop(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 1000:
            raise self.fail(key, "must be a whole number from 0 to 1000.")
        return value

    def texts(self, key: str, default: tuple[str, ...], pattern: re.Pattern[str]) -> tuple[str, ...]:
        value = self.values.pop(key, list(default))
        if not isinstance(value, list) or not all(isinstance(one, str) and pattern.fullmatch(one) for one in value):
            raise self.fail(key, f"must be a list of texts that match {pattern.pattern}.")
        return tuple(value)

    def table(self, key: str) -> "_Table | None":
        value = self.values.pop(key, None)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.fail(key, f"must be a table; write it as [{key}].")
        return _Table(f"{self.where}, [{key}]", value)

    def tables(self, key: str) -> "list[_Table]":
        value = self.values.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise self.fail(key, f"must be a list of tables; write each as [[{key}]].")
        return [_Table(f"{self.where}, [[{key}]] {number}", one) for number, one in enumerate(value, 1)]

    def done(self) -> None:
        for key in self.values:
            raise self.fail(key, "is not known here; remove it or correct its spelling.")


def load(path: Path) -> Manifest:
    """Read a definition from a file. Raises ManifestProblem."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as problem:
        raise ManifestProblem(f"{path.name}: the file cannot be read; check its place and encoding.") from problem
    except tomllib.TOMLDecodeError as problem:
        raise ManifestProblem(f"{path.name}: this is not valid TOML: {problem}.") from problem
    return parse(values, path.name)


def parse(values: Mapping[str, Any], where: str) -> Manifest:
    """Return the definition in these values; `where` names them in errors. Raises ManifestProblem."""
    table = _Table(where, values)
    fields = tuple(_field(one) for one in table.tables("fields"))
    manifest = Manifest(
        slug=table.text("slug", pattern=_SLUG),
        name=table.text("name"),
        help_url=_help_url(table),
        help_text=table.text("help_text"),
        needs_key=table.flag("needs_key", True),
        base_url=_base_url(table),
        fields=fields,
        auth=_auth(table.table("auth")),
        error_shape=cast(ErrorShape, table.one_of("error_shape", ("openai", "anthropic"))),
        operations=tuple(_operation(one) for one in table.tables("operations")),
        check=_check(table.table("check")),
        price_provider=table.text("price_provider", "") or None,
        strip_headers=frozenset(table.texts("strip_headers", (), _HEADER)),
        accepts_token_in=table.texts("accepts_token_in", ("bearer", "x-api-key"), _HEADER),
        several=table.flag("several", False),
    )
    table.done()
    _agree(table, manifest)
    return manifest


def _agree(table: _Table, manifest: Manifest) -> None:
    """Check what only the whole can show."""
    if not manifest.operations:
        raise table.fail("operations", "is empty; name at least one.")
    if len({one.name for one in manifest.operations}) != len(manifest.operations):
        raise table.fail("operations", "names one operation twice; give each its own name.")
    if manifest.needs_key != bool(manifest.fields):
        raise table.fail("fields", "must be there if and only if needs_key is true.")
    if manifest.needs_key and not manifest.base_url:
        raise table.fail("base_url", "is missing; a provider with a key has an address.")
    if manifest.several and not manifest.needs_key:
        raise table.fail("several", "makes no sense without a key; remove it.")
    if manifest.needs_key and manifest.field(manifest.auth.field) is None:
        raise table.fail("auth", "must name one of the fields in 'field'.")


def _field(table: _Table) -> Field:
    found = Field(
        name=table.text("name", pattern=_NAME),
        label=table.text("label"),
        secret=table.flag("secret", True),
        pattern=table.text("pattern"),
        example=table.text("example", ""),
        help=table.text("help", ""),
    )
    table.done()
    try:
        re.compile(found.pattern)
    except re.error:
        raise table.fail("pattern", "is not a regular expression; correct it.") from None
    return found


def _auth(table: _Table | None) -> Auth:
    if table is None:
        return Auth("none")
    place = table.one_of("place", ("bearer", "header", "none"))
    header = table.text("header", pattern=_HEADER) if place == "header" else ""
    name = table.text("field", pattern=_NAME) if place != "none" else ""
    table.done()
    return Auth(cast(Literal["bearer", "header", "none"], place), name, header)


def _operation(table: _Table) -> Operation:
    found = Operation(
        name=table.text("name"),
        method=table.one_of("method", ("GET", "POST", "PUT", "PATCH", "DELETE")),
        path=table.text("path", pattern=_PATH),
        dialect=cast(Dialect, table.one_of("dialect", DIALECTS, "none")),
        system=table.flag("system", False),
        requests=table.count("requests", 1),
    )
    table.done()
    return found


def _check(table: _Table | None) -> Check | None:
    if table is None:
        return None
    headers = table.table("headers")
    found = Check(
        method=table.one_of("method", ("GET", "POST")),
        path=table.text("path"),
        headers={} if headers is None else {name: headers.text(name) for name in list(headers.values)},
    )
    table.done()
    if not found.path.startswith("/"):
        raise table.fail("path", "must begin with a slash.")
    return found


def _base_url(table: _Table) -> str:
    url = table.text("base_url", "")
    parts = urlsplit(url)
    if url and (parts.scheme != "https" or not parts.hostname or parts.path or parts.query or "@" in parts.netloc):
        raise table.fail("base_url", "must be https://host and nothing more; the paths belong to the operations.")
    return url


def _help_url(table: _Table) -> str:
    url = table.text("help_url", "")
    if url and not url.startswith("https://"):
        raise table.fail("help_url", "must begin with https://.")
    return url
