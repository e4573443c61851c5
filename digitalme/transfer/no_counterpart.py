"""Settings of the plan's file that become nothing here, each with the reason."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from django.conf import settings

from apikeys import vault
from digitalme.transfer.dotnet_json import BadFile, Entry

State = Literal["new", "changed", "unchanged", "ignored", "refused"]

# The plan's figures, which an import must not go below.
PLANNED_FAILURES, PLANNED_COOLDOWN_MINUTES = 3, 15
_NOT_IMPORTED = "not a matter of imported settings"
ROUNDS = vault.ROUNDS[vault.PROFILE]


@dataclass(frozen=True, slots=True)
class Note:
    """What is said of one setting. `refused` is what would make something weaker."""

    setting: str
    becomes: str
    state: State
    why: str = ""


def note(file: str, entry: Entry, section: str, name: str) -> Note:
    """Return what is said of a setting; `section` and `name` are in lower case.

    Raises BadFile for a number that is none.
    """
    said = _SAID.get((section, name))
    if said is None:
        return Note(entry.name, "nothing", "ignored", "this product knows no such setting")
    becomes, state, why = said(_Value(file, entry))
    return Note(entry.name, becomes, state, why)


def section(name: str) -> Note:
    """Return what is said of a section that is not about keys or quotas."""
    why = _SECTIONS.get(name.casefold().removeprefix("digitalme:"), "it is not about keys or quotas")
    return Note(name, "nothing", "ignored", why)


_SECTIONS = {
    "apibaseurl": "set by environment: SITE_URL",
    "allowedhosts": "set by environment: ALLOWED_HOSTS",
    "connectionstrings": "set by environment: DATABASE_URL and REDIS_URL",
    "logging": "set by environment: LOG_LEVEL",
    "authentication": "accounts and sign-in are this product's own",
}


class _Value:
    """The value of one setting, read as what it must be."""

    def __init__(self, file: str, entry: Entry) -> None:
        self._file, self._entry = file, entry

    @property
    def number(self) -> int:
        text = self._entry.text.strip()
        if self._entry.kind not in ("number", "text") or not (text.isascii() and text.isdigit() and len(text) < 16):
            what = f"{self._entry.name} must be a whole number."
            raise BadFile(self._file, self._entry.line, self._entry.column, what)
        return int(text)

    @property
    def text(self) -> str:
        return " ".join(self._entry.text.split())


Said = tuple[str, State, str]


def _rounds(value: _Value) -> Said:
    number, becomes = value.number, f"{ROUNDS:,} rounds, part of the sealed format"
    if number == ROUNDS:
        return becomes, "unchanged", ""
    if number < ROUNDS:
        return becomes, "refused", f"{number:,} rounds would be weaker"
    return becomes, "ignored", "more rounds add nothing to a master key of 32 random bytes"


def _algorithm(value: _Value) -> Said:
    becomes = "AES-256-GCM, part of the sealed format"
    if value.text.casefold().replace("_", "-") == "aes-256-gcm":
        return becomes, "unchanged", ""
    return becomes, "refused", "another algorithm would be weaker, or at best unproven"


def _failures(value: _Value) -> Said:
    if value.number > PLANNED_FAILURES:
        return "nothing", "refused", "more wrong keys could be tried"
    return "nothing", "ignored", _NOT_IMPORTED


def _cooldown(value: _Value) -> Said:
    if value.number < PLANNED_COOLDOWN_MINUTES:
        return "nothing", "refused", "wrong keys could be tried sooner again"
    return "nothing", "ignored", _NOT_IMPORTED


def _retention(value: _Value) -> Said:
    days, kept = value.number, settings.DIGITALME_AUDIT_RETENTION_DAYS
    becomes = f"{kept:,} days (DIGITALME_AUDIT_RETENTION_DAYS)"
    if days == kept:
        return becomes, "unchanged", ""
    if days < kept:
        return becomes, "refused", "the audit trail would be shorter"
    return becomes, "ignored", "set by environment: DIGITALME_AUDIT_RETENTION_DAYS"


def _ceiling(value: _Value) -> Said:
    value.number  # noqa: B018 (asked for its refusal)
    return "nothing", "ignored", "nobody but staff raises a limit here, each by itself (set_allocation, tiers)"


def _schedule(value: _Value) -> Said:
    becomes = "days and months begin at midnight, in each person's time zone"
    if value.text in ("0 0 * * *", "@daily", "@midnight"):
        return becomes, "unchanged", ""
    return becomes, "ignored", "periods are calendar days and months, whatever runs when"


_SAID: dict[tuple[str, str], Callable[[_Value], Said]] = {
    ("encryptionsettings", "keyderivationiterations"): _rounds,
    ("encryptionsettings", "encryptionalgorithm"): _algorithm,
    ("securitysettings", "maxfailedvalidations"): _failures,
    ("securitysettings", "validationcooldownminutes"): _cooldown,
    ("securitysettings", "auditlogretentiondays"): _retention,
    ("quotasettings", "maxuserquota"): _ceiling,
    ("quotasettings", "quotaresetschedule"): _schedule,
}
