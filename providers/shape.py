"""Tables of typed keys, described as data: read strictly, with errors for people, and told as JSON schema."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["text", "flag", "whole", "texts", "wholes", "values", "texts by name", "table", "tables"]
Path = tuple[str | int, ...]
ONE_LINE = r"[^\x00-\x1f\x7f]*"
_HEAD = re.compile(r"\s*(\[\[?)\s*([A-Za-z0-9_.-]+)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"\s*([A-Za-z0-9_-]+|\"[^\"]*\")\s*=")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Key:
    """What one key of a table may hold.

    `choices` are texts; `pattern` must match a text, or each of several, whole; `least` and `most` bound
    numbers, and `most` the length of a text if it is above 0. A table that may be given once or several times
    is of the kind "tables".
    """

    kind: Kind
    help: str
    required: bool = False
    default: Any = None
    pattern: str = ""
    choices: tuple[str, ...] = ()
    least: int = 0
    most: int = 0
    keys: "Mapping[str, Key] | None" = None
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one key: where it stands, and what to do about it."""

    path: Path
    advice: str

    def place(self) -> str:
        """Return the table that the key stands in, as it is written in the file; empty for the top."""
        parts: list[str] = []
        for part in self.path[:-1] if isinstance(self.path[-1], str) else self.path:
            if isinstance(part, int):
                parts[-1] = f"[[{parts[-1]}]] {part + 1}"
            else:
                parts.append(part)
        return ", ".join(part if part.startswith("[") else f"[{part}]" for part in parts)

    def sentence(self, where: str, text: str = "") -> str:
        """Return the problem in words: file, line (if the file's text is given), table, key, remedy."""
        line = line_of(self.path, text) if text else 0
        head = ", ".join(part for part in (where, f"line {line}" if line else "", self.place()) if part)
        named = self.path and isinstance(self.path[-1], str)
        return f"{head}: '{self.path[-1]}' {self.advice}" if named else f"{head}: this {self.advice}"


class Reader:
    """Reads tables and gathers every problem, so that they can be mended at once."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def refuse(self, path: Path, advice: str) -> None:
        """Note that something is wrong."""
        self.problems.append(Problem(path, advice))

    def table(self, keys: Mapping[str, Key], values: Mapping[str, Any], path: Path = ()) -> dict[str, Any]:
        """Return a value for each key, its default where it is absent or wrong."""
        for name in values:
            if name not in keys:
                self.refuse(
                    (*path, str(name)), f"is not known here; remove it or correct its spelling{_near(name, keys)}."
                )
        found: dict[str, Any] = {}
        for name, key in keys.items():
            if name in values:
                found[name] = self._value(key, values[name], (*path, name))
            else:
                found[name] = () if key.default is None and key.kind in _MANY else key.default
                if key.required:
                    self.refuse((*path, name), f"is missing; it {_wanted(key)}.")
        return found

    def _value(self, key: Key, value: Any, path: Path) -> Any:
        read = getattr(self, f"_{key.kind.replace(' ', '_')}")
        return read(key, value, path)

    def _text(self, key: Key, value: Any, path: Path) -> Any:
        if not isinstance(value, str) or not _fits(key, value):
            self.refuse(path, f"{_wanted(key)}.")
            return key.default
        return value

    def _flag(self, key: Key, value: Any, path: Path) -> Any:
        if not isinstance(value, bool):
            self.refuse(path, f"{_wanted(key)}.")
            return key.default
        return value

    def _whole(self, key: Key, value: Any, path: Path) -> Any:
        if not _is_whole(key, value):
            self.refuse(path, f"{_wanted(key)}.")
            return key.default
        return value

    def _texts(self, key: Key, value: Any, path: Path) -> tuple[str, ...]:
        """Read a list of texts, or one text alone."""
        given = [value] if isinstance(value, str) else value
        if not isinstance(given, list) or not all(isinstance(one, str) and _fits(key, one) for one in given):
            self.refuse(path, f"{_wanted(key)}.")
            return ()
        return tuple(given)

    def _wholes(self, key: Key, value: Any, path: Path) -> tuple[int, ...]:
        given = value if isinstance(value, list) else [value]
        if not all(_is_whole(key, one) for one in given):
            self.refuse(path, f"{_wanted(key)}.")
            return ()
        return tuple(given)

    def _values(self, key: Key, value: Any, path: Path) -> tuple[Any, ...]:
        given = value if isinstance(value, list) else [value]
        if not all(isinstance(one, (str, int, bool)) for one in given):
            self.refuse(path, f"{_wanted(key)}.")
            return ()
        return tuple(given)

    def _texts_by_name(self, key: Key, value: Any, path: Path) -> dict[str, str]:
        if not isinstance(value, dict):
            self.refuse(path, f"{_wanted(key)}.")
            return {}
        for name, one in value.items():
            if not isinstance(one, str) or not _fits(key, one) or not _NAME.fullmatch(name):
                self.refuse((*path, str(name)), "must be a text on one line.")
        return {name: one for name, one in value.items() if isinstance(one, str)}

    def _table(self, key: Key, value: Any, path: Path) -> Any:
        if not isinstance(value, dict):
            self.refuse(path, f"must be a table; write it as [{path[-1]}].")
            return None
        return self.table(key.keys or {}, value, path)

    def _tables(self, key: Key, value: Any, path: Path) -> tuple[dict[str, Any], ...]:
        given = [value] if isinstance(value, dict) else value
        if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
            self.refuse(path, f"must be a list of tables; write each as [[{path[-1]}]].")
            return ()
        if isinstance(value, dict):
            return (self.table(key.keys or {}, value, path),)
        return tuple(self.table(key.keys or {}, one, (*path, number)) for number, one in enumerate(given))


_MANY = ("texts", "wholes", "values", "tables")


def _is_whole(key: Key, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and key.least <= value <= key.most


def _fits(key: Key, value: str) -> bool:
    if key.choices and value not in key.choices:
        return False
    if key.most and len(value) > key.most:
        return False
    return not key.pattern or re.fullmatch(key.pattern, value) is not None


def _wanted(key: Key) -> str:
    """Say what the key must hold."""
    if key.advice:
        return key.advice
    if key.pattern == ONE_LINE:
        return "must be a quoted text on one line" + (f" of up to {key.most} characters" if key.most else "")
    several = "each of them " if key.kind == "texts" else ""
    form = ""
    if key.choices:
        form = f" {several}one of {', '.join(key.choices)}"
    elif key.pattern:
        form = f" {several}that matches {key.pattern}"
    if key.kind == "text":
        return f"must be{form}" if key.choices else f"must be a quoted text{form}"
    if key.kind == "texts":
        return f"must be a quoted text or a list of them{',' if form else ''}{form}"
    if key.kind in ("whole", "wholes"):
        several = " or a list of them" if key.kind == "wholes" else ""
        return f"must be a whole number from {key.least} to {key.most}{several}"
    return {
        "flag": "must be true or false",
        "values": "must be a text, a number, true, false, or a list of these",
        "texts by name": 'must be a table of texts; write it as { name = "value" }',
        "table": "must be a table",
        "tables": "must be a table or a list of tables",
    }[key.kind]


def _near(name: str, keys: Mapping[str, Key]) -> str:
    """Name the known key that a misspelt one begins like."""
    likely = [one for one in keys if one[:3] == str(name)[:3]]
    return f" (perhaps '{likely[0]}')" if likely else ""


# --- Where a key stands in the file --------------------------------------------------------------


def line_of(path: Path, text: str) -> int:
    """Return the number of the line of a TOML text that this key stands in, or the nearest table of it that
    is written there; 0 if none is."""
    lines = _lines(text)
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return 0


def _lines(text: str) -> dict[Path, int]:
    found: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    here: Path = ()
    for number, line in enumerate(text.splitlines(), 1):
        if head := _HEAD.match(line):
            here = _opened(head[1] == "[[", tuple(head[2].split(".")), counts)
            found.setdefault(here, number)
            found.setdefault(tuple(part for part in here if not isinstance(part, int)), number)
        elif key := _KEY.match(line):
            found.setdefault((*here, key[1].strip('"')), number)
    return found


def _opened(several: bool, names: tuple[str, ...], counts: dict[Path, int]) -> Path:
    """Return the path of the table that a heading opens: within a list, of its newest entry."""
    path: Path = ()
    for place, name in enumerate(names):
        path = (*path, name)
        if several and place == len(names) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


# --- JSON schema ---------------------------------------------------------------------------------


def json_schema(keys: Mapping[str, Key], help: str = "") -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a table with these keys."""
    schema: dict[str, Any] = {"type": "object"}
    if help:
        schema["description"] = help
    schema["properties"] = {name: _schema_of(key) for name, key in keys.items()}
    required = [name for name, key in keys.items() if key.required]
    if required:
        schema["required"] = required
    return {**schema, "additionalProperties": False}


def _schema_of(key: Key) -> dict[str, Any]:
    found = {"description": key.help, **dict(_rules(key))}
    if key.default not in (None, (), ""):
        found["default"] = list(key.default) if isinstance(key.default, tuple) else key.default
    return found


def _rules(key: Key) -> Iterator[tuple[str, Any]]:
    text: dict[str, Any] = {"type": "string"}
    if key.choices:
        text["enum"] = list(key.choices)
    if key.pattern:
        text["pattern"] = f"^(?:{key.pattern})$"
    if key.most and key.kind in ("text", "texts", "texts by name"):
        text["maxLength"] = key.most
    whole = {"type": "integer", "minimum": key.least, "maximum": key.most}
    plain = {"type": ["string", "integer", "boolean"]}
    table = json_schema(key.keys or {})
    simple: dict[str, dict[str, Any]] = {
        "text": text,
        "flag": {"type": "boolean"},
        "whole": whole,
        "texts": {"anyOf": [text, {"type": "array", "items": text}]},
        "wholes": {"anyOf": [whole, {"type": "array", "items": whole}]},
        "values": {"anyOf": [plain, {"type": "array", "items": plain}]},
        "texts by name": {
            "type": "object",
            "additionalProperties": text,
            "propertyNames": {"pattern": f"^(?:{_NAME.pattern})$"},
        },
        "table": table,
        "tables": {"anyOf": [table, {"type": "array", "items": table}]},
    }
    yield from simple[key.kind].items()
