"""Read the environment: every value may also come from a file named by NAME_FILE."""

import os
import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}
_LINE = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=(?P<value>.*)")


class EnvironmentProblem(Exception):
    """A variable holds a value that cannot be used; the message names it, never the value."""


def load_file(path: Path, *, environ: MutableMapping[str, str] = os.environ) -> None:
    """Take NAME=value lines from a file, where it exists; what the environment already holds wins.

    Blank lines and lines that begin with # are skipped, one pair of quotes around a value is taken
    off, nothing is expanded. Raises EnvironmentProblem for a line of another shape.
    """
    given = {name.removesuffix("_FILE") for name in environ}
    environ.update({name: value for name, value in read_file(path).items() if name.removesuffix("_FILE") not in given})


def read_file(path: Path) -> dict[str, str]:
    """Return the NAME=value lines of a file, or nothing where there is no such file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as problem:
        raise EnvironmentProblem(f"{path} cannot be read.") from problem
    found = {}
    for number_of_line, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise EnvironmentProblem(f"{path}, line {number_of_line}: write NAME=value.")
        value = match["value"].strip()
        quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
        found[match["name"]] = value[1:-1] if quoted else value
    return found


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


def number(name: str, default: int, *, least: int | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Return a whole number, not below `least`; anything else is refused."""
    value = text(name, str(default), environ=environ).strip()
    try:
        found = int(value)
    except ValueError:
        raise EnvironmentProblem(f"{name} must be a whole number.") from None
    if least is not None and found < least:
        raise EnvironmentProblem(f"{name} must be {least} or more.")
    return found


def listing(name: str, default: str = "", *, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the comma-separated entries, blanks dropped."""
    return [entry.strip() for entry in text(name, default, environ=environ).split(",") if entry.strip()]


def by_prefix(prefix: str, *, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return {rest of the name in lower case: value} of all variables that begin with the prefix."""
    names = {name.removesuffix("_FILE") for name in environ if name.startswith(prefix)}
    values = {name: optional(name, environ=environ) for name in sorted(names)}
    return {name.removeprefix(prefix).lower(): value for name, value in values.items() if value}
