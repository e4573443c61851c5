"""What an appsettings.json asks for, in this product's terms: keys, limits, and notes on the rest.

Two shapes are read, wherever they stand: `DigitalMe:ApiKeys` with a key for each provider, and
`DigitalMe:ApiConfiguration` with SystemKeys, DefaultQuotas, EncryptionSettings, SecuritySettings and
QuotaSettings.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import NamedTuple, NoReturn

from apikeys import keys
from digitalme.errors import InvalidKeyFormat, InvalidRequest
from digitalme.transfer import dotnet_json, no_counterpart
from digitalme.transfer.dotnet_json import BadFile, Entry
from digitalme.transfer.no_counterpart import Note
from providers import registry
from providers.registry import Provider
from providers.secrets import Secret
from quotas import limits
from quotas.models import ALL_PROVIDERS, EACH_PROVIDER, LimitType

_SECTIONS = frozenset(["systemkeys", "defaultquotas", "encryptionsettings", "securitysettings", "quotasettings"])
_QUOTA = re.compile(r"(daily|monthly)(requests|tokens|cost)")
# What people called a provider; letters and digits only, in lower case.
_ALIASES = {
    "claude": "anthropic",
    "anthropicclaude": "anthropic",
    "gpt": "openai",
    "chatgpt": "openai",
    "openaigpt": "openai",
    "2captcha": "twocaptcha",
    "mcpserver": "mcp",
    "mcpservers": "mcp",
    "smtp": "email",
    "imap": "email",
    "smtpimap": "email",
    "emailsmtp": "email",
    "emailsmtpimap": "email",
    "mail": "email",
    "slackbot": "slack",
    "telegrambot": "telegram",
    "googleapi": "google",
    "googleapis": "google",
}
# Names of the one secret, where a provider's own name for it is another.
_KEY_NAMES = frozenset({"key", "apikey", "token", "bottoken", "accesstoken"})


@dataclass(frozen=True, slots=True)
class KeyWanted:
    """A key of the house."""

    setting: str
    provider: Provider
    fields: Mapping[str, str] = field(repr=False)

    @property
    def secrets(self) -> dict[str, Secret]:
        return keys.checked(self.provider, self.fields)


@dataclass(frozen=True, slots=True)
class LimitWanted:
    """One amount of a limit of the default tier."""

    setting: str
    type: LimitType
    provider: str
    amount: str
    value: int | Decimal


Wanted = KeyWanted | LimitWanted | Note


class _Group(NamedTuple):
    """What the file says about the key of one provider in one of the two shapes."""

    setting: str
    provider: Provider
    entries: dict[str, Entry]
    is_old: bool


def read(data: bytes, name: str) -> list[Wanted]:
    """Return what the file asks for, in its order.

    Raises BadFile for a file that cannot be read, a key that cannot be one, a number that is none, or a
    provider that stands there under two names.
    """
    return _Reading(name).all(dotnet_json.read(data, name))


class _Reading:
    """One pass over a file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.found: list[Wanted] = []
        self._groups: dict[tuple[bool, str], _Group] = {}
        self._other: set[str] = set()

    def all(self, entries: Iterable[Entry]) -> list[Wanted]:
        for entry in entries:
            self._one(entry)
        return [*self._keys(), *self.found]

    def _one(self, entry: Entry) -> None:
        path = list(entry.path)
        if path[:1] and path[0].casefold() == "digitalme":
            path = path[1:]
        if path[:1] and path[0].casefold() == "apiconfiguration":
            path = path[1:]
        section = path[0].casefold() if path else ""
        if section == "apikeys" and len(path) > 1:
            self._about_key(entry, path[1], path[2:], is_old=True)
        elif section == "systemkeys" and len(path) > 1:
            self._about_key(entry, path[1], path[2:], is_old=False)
        elif section in _SECTIONS and len(path) == 2:
            self._setting(entry, section, path[1].casefold())
        else:
            self._elsewhere(entry)

    def _setting(self, entry: Entry, section: str, name: str) -> None:
        quota = _QUOTA.fullmatch(name) if section == "defaultquotas" else None
        if quota:
            self._limit(entry, LimitType(quota[1]), ALL_PROVIDERS, quota[2])
        elif (section, name) == ("quotasettings", "defaultdemoquota"):
            self._limit(entry, LimitType.DEMO, EACH_PROVIDER, "requests")
        else:
            self.found.append(no_counterpart.note(self.name, entry, section, name))

    def _elsewhere(self, entry: Entry) -> None:
        """Say once for a whole section that it is not about keys or quotas."""
        depth = 2 if entry.path and entry.path[0].casefold() == "digitalme" else 1
        section = ":".join(entry.path[:depth])
        if section and section not in self._other:
            self._other.add(section)
            self.found.append(no_counterpart.section(section))

    def _about_key(self, entry: Entry, named: str, rest: list[str], *, is_old: bool) -> None:
        provider = _provider(named)
        if provider is None:
            why = f"there is no provider {named[:64]!r} here"
            self.found.append(Note(entry.name, "nothing", "ignored", why))
            return
        member = _plain(rest[0]) if rest else "key"
        if member == "demoquota":
            self._limit(entry, LimitType.DEMO, provider.slug, "requests")
            return
        fields = [one.name for one in provider.manifest.fields]
        field_name = next((one for one in fields if _plain(one) == member), None)
        if field_name is None and member in _KEY_NAMES and fields:
            field_name = fields[0]
        if field_name is None or len(rest) > 1 or entry.kind in ("flag", "empty"):
            why = f"{provider.name} has no such field" if fields else f"{provider.name} needs no key"
            self.found.append(Note(entry.name, "nothing", "ignored", why))
            return
        setting = ":".join(entry.path[: len(entry.path) - len(rest)])
        group = self._groups.setdefault((is_old, provider.slug), _Group(setting, provider, {}, is_old))
        if field_name in group.entries or group.setting.casefold() != setting.casefold():
            first = next(iter(group.entries.values()))
            self._fail(entry, f"{provider.name} has its key in line {first.line} already, as {group.setting}.")
        group.entries[field_name] = entry

    def _keys(self) -> Iterable[Wanted]:
        for (is_old, slug), group in self._groups.items():
            values = {name: entry.text for name, entry in group.entries.items() if entry.text.strip()}
            newer = self._groups.get((False, slug)) if is_old else None
            if not values:
                yield Note(group.setting, "nothing", "ignored", "it is empty")
            elif newer and any(entry.text.strip() for entry in newer.entries.values()):
                yield Note(group.setting, "nothing", "ignored", f"{newer.setting} comes before it")
            else:
                yield self._key(group, values)

    def _key(self, group: _Group, values: dict[str, str]) -> KeyWanted:
        wanted = KeyWanted(group.setting, group.provider, values)
        first = next(iter(group.entries.values()))
        try:
            wanted.secrets  # noqa: B018 (asked for its refusal)
        except InvalidKeyFormat as refusal:
            self._fail(group.entries.get(str(refusal.data.get("field")), first), refusal.message)
        except InvalidRequest as refusal:
            self._fail(first, refusal.message)
        return wanted

    def _limit(self, entry: Entry, type: LimitType, provider: str, amount: str) -> None:
        value = self._dollars(entry) if amount == "cost" else self._whole(entry)
        self.found.append(LimitWanted(entry.name, type, provider, amount, value))

    def _whole(self, entry: Entry) -> int:
        most = limits.MOST_COUNTED
        if entry.kind not in ("number", "text") or not re.fullmatch(r"[0-9]{1,16}", entry.text.strip()):
            self._fail(entry, f"{entry.name} must be a whole number from 0 to {most}.")
        value = int(entry.text)
        if value > most:
            self._fail(entry, f"{entry.name} must be a whole number from 0 to {most}.")
        return value

    def _dollars(self, entry: Entry) -> Decimal:
        try:
            value = Decimal(entry.text.strip()) if entry.kind in ("number", "text") else Decimal(-1)
        except InvalidOperation:
            value = Decimal(-1)
        if not (value.is_finite() and 0 <= value <= limits.MOST_DOLLARS):
            self._fail(entry, f"{entry.name} must be an amount from 0 to {limits.MOST_DOLLARS} US dollars.")
        return value

    def _fail(self, entry: Entry, what: str) -> NoReturn:
        raise BadFile(self.name, entry.line, entry.column, what)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _provider(named: str) -> Provider | None:
    """Return the provider that people call so, or None."""
    plain = _plain(named)
    slug = _ALIASES.get(plain, plain)
    return next((one for one in registry.all_providers() if _plain(one.slug) == slug), None)
