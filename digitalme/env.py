"""Read the environment: every value may also come from a file named by NAME_FILE."""

import os
from collections.abc import Mapping
from pathlib import Path

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}


class EnvironmentProblem(Exception):
    """A variable holds a value that cannot be used; the message names it, never the value."""


def text(name: str, default: str | None = None, *, environ: Mapping[str, str] = os.environ) -> str:
    """Return the value of NAME, or the content of the file that NAME_FILE names, or the default.

    Raises EnvironmentProblem if neither is there and no default is given, if both are set, or if
    the file cannot be read.
    """
    value = optional(name, environ=environ)
    if value is not None:
        return value
    if default is None:
        raise EnvironmentProblem(f"{name} is not set (nor {name}_FILE).")
    return default


def optional(name: str, *, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the value of NAME or of its file, or None where neither is set."""
    direct, path = environ.get(name), environ.get(f"{name}_FILE")
    if direct and path:
        raise EnvironmentProblem(f"{name} and {name}_FILE are both set; keep one.")
    if not path:
        return direct
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise EnvironmentProblem(f"The file that {name}_FILE names cannot be read.") from problem


def flag(name: str, default: bool, *, environ: Mapping[str, str] = os.environ) -> bool:
    """Return a yes/no value; anything but 1/0, true/false, yes/no, on/off is refused."""
    value = text(name, "on" if default else "off", environ=environ).strip().lower()
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise EnvironmentProblem(f"{name} must be one of true, false, 1, 0, yes, no, on, off.")


def number(name: str, default: int, *, environ: Mapping[str, str] = os.environ) -> int:
    """Return a whole number; anything else is refused."""
    value = text(name, str(default), environ=environ).strip()
    try:
        return int(value)
    except ValueError:
        raise EnvironmentProblem(f"{name} must be a whole number.") from None


def listing(name: str, default: str = "", *, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the comma-separated entries, blanks dropped."""
    return [entry.strip() for entry in text(name, default, environ=environ).split(",") if entry.strip()]


def by_prefix(prefix: str, *, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return {rest of the name in lower case: value} of all variables that begin with the prefix."""
    names = {name.removesuffix("_FILE") for name in environ if name.startswith(prefix)}
    values = {name: optional(name, environ=environ) for name in sorted(names)}
    return {name.removeprefix(prefix).lower(): value for name, value in values.items() if value}
