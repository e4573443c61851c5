"""What an answer says, told by rules: one condition on status, JSON, header or text each."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_TEXT = 100_000
_MISSING = object()


def at(value: Any, path: Iterable[str]) -> Any:
    """Return what stands at a path of names and list positions in JSON, None if there is nothing."""
    for name in path:
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def names(path: str) -> tuple[str, ...]:
    """Return the names of a path that is written with dots."""
    return tuple(path.split(".")) if path else ()


@dataclass(slots=True)
class Answer:
    """An answer that rules are asked about: header names in lower case; JSON is read once, when asked for."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    _value: Any = field(default=_MISSING, repr=False)

    @property
    def value(self) -> Any:
        """The body as JSON, None if it is none."""
        if self._value is _MISSING:
            try:
                self._value = json.loads(self.body)
            except (ValueError, RecursionError):
                self._value = None
        return self._value

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body[:MAX_TEXT].decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Condition:
    """One test of an answer; without a place to look at, its status alone counts."""

    status: frozenset[int] = frozenset()
    json: tuple[tuple[str, ...], ...] = ()
    header: str = ""
    text: bool = False
    equals: tuple[Any, ...] = ()
    contains: tuple[str, ...] = ()
    ends_with: tuple[str, ...] = ()
    exists: bool | None = None
    at_most: int | None = None

    def holds(self, answer: Answer) -> bool:
        """Whether the answer fulfils it."""
        if self.status and answer.status not in self.status:
            return False
        if self.json:
            return any(self._fits(at(answer.value, path)) for path in self.json)
        if self.header:
            return self._fits(answer.headers.get(self.header))
        return self._fits(answer.text) if self.text else True

    def _fits(self, value: Any) -> bool:
        if self.exists is not None:
            return (value is not None) is self.exists
        if self.at_most is not None:
            number = _number(value)
            return number is not None and number <= self.at_most
        if self.equals:
            return any(type(value) is type(one) and value == one for one in self.equals)
        if not isinstance(value, str):
            return False
        low = value.lower()
        return any(part.lower() in low for part in self.contains) or low.endswith(
            tuple(part.lower() for part in self.ends_with)
        )


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,12}(\.\d{1,12})?", value):
        return float(value)
    return None


ALWAYS = Condition()


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """What an answer that fulfils the condition means for the credential; `message` in place of our own."""

    condition: Condition
    category: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A good status that is a failure all the same, and where the body names it."""

    condition: Condition
    error: tuple[str, ...] = ()


def condition(given: Mapping[str, Any]) -> Condition:
    """Return the condition in a table that the schema has let through."""
    return Condition(
        status=frozenset(given["status"]),
        json=tuple(names(path) for path in given["json"]),
        header=given["header"] or "",
        text=given["text"],
        equals=given["is"],
        contains=given["contains"],
        ends_with=given["ends_with"],
        exists=given["exists"],
        at_most=given["at_most"],
    )


def flaw(given: Mapping[str, Any]) -> str:
    """Return what is wrong with a condition as a whole, empty if nothing is."""
    places = sum((bool(given["json"]), bool(given["header"]), given["text"]))
    tests = sum(
        (
            bool(given["is"]),
            bool(given["contains"] or given["ends_with"]),
            given["exists"] is not None,
            given["at_most"] is not None,
        )
    )
    if places > 1:
        return "looks at several places; keep one of 'json', 'header' and 'text'"
    if places != tests:
        return (
            "says where to look but not what for; add one of 'is', 'contains', 'ends_with', 'exists' and 'at_most'"
            if places > tests
            else "needs exactly one test, and with it one of 'json', 'header' and 'text'"
        )
    return "" if places or given["status"] else "is empty; name a 'status', or a place and a test"
