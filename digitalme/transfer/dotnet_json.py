"""Read JSON as .NET reads its settings: with comments, trailing commas and a byte order mark.

The result is flat, as it is there: one entry for each value, under a path of names. A name with colons
is a path by itself, and names differ in more than their case. Messages name a place, never a value.
"""

import codecs
import re
from dataclasses import dataclass, field
from typing import Literal, NoReturn

from digitalme.errors import InvalidRequest

MAX_BYTES = 1_000_000
MAX_DEPTH = 64
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORDS = {"true": "True", "false": "False", "null": ""}
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

Kind = Literal["text", "number", "flag", "null", "empty"]


class BadFile(InvalidRequest):
    """A file that cannot be read as what it should be: file:line:column and what is wrong."""

    def __init__(self, name: str, line: int, column: int, what: str) -> None:
        super().__init__(f"{name}:{line}:{column}: {what}", line=line, column=column)


@dataclass(frozen=True, slots=True)
class Entry:
    """One value and where it stands. `text` may be a secret. An empty object or list is an entry too."""

    path: tuple[str, ...]
    kind: Kind
    text: str = field(repr=False)
    line: int
    column: int

    @property
    def name(self) -> str:
        """The path as .NET writes it."""
        return ":".join(self.path)


def read(data: bytes, name: str) -> list[Entry]:
    """Return the file's values in their order. Raises BadFile, in which the file is called `name`."""
    if len(data) > MAX_BYTES:
        raise BadFile(name, 1, 1, f"The file has more than {MAX_BYTES:,} bytes; settings have a few thousand.")
    reader = _Reader(_text(data, name), name)
    reader.document()
    return reader.entries


def _text(data: bytes, name: str) -> str:
    encoding = "utf-8"
    for mark, of_mark in _MARKS:
        if data.startswith(mark):
            data, encoding = data[len(mark) :], of_mark
            break
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as problem:
        before = data[: problem.start].decode(encoding)
        line, column = _place(before, len(before))
    raise BadFile(name, line, column, f"This is not {encoding.upper()} text. Save the file as UTF-8.")


def _place(text: str, position: int) -> tuple[int, int]:
    """Return line and column of a position, both counted from one."""
    start = text.rfind("\n", 0, position) + 1
    return text.count("\n", 0, position) + 1, position - start + 1


class _Reader:
    """Goes through the text once, from left to right."""

    def __init__(self, text: str, name: str) -> None:
        self.text, self.name, self.at = text, name, 0
        self.entries: list[Entry] = []
        self._seen: dict[tuple[str, ...], int] = {}

    def document(self) -> None:
        """Read the one object that a file of settings is."""
        self._skip()
        if self._next() != "{":
            self._fail("The file must begin with { and hold one object.")
        self._value((), 0)
        self._skip()
        if self.at < len(self.text):
            self._fail("Something follows after the end of the object.")

    def _value(self, path: tuple[str, ...], depth: int) -> None:
        start, first = self.at, self._next()
        if depth >= MAX_DEPTH:
            self._fail(f"Objects and lists are nested more than {MAX_DEPTH} deep.")
        if first == "{":
            self._members(path, depth)
        elif first == "[":
            self._items(path, depth)
        elif first == '"':
            self._add(path, "text", self._string(), start)
        elif number := _NUMBER.match(self.text, self.at):
            self.at = number.end()
            self._end_of_word()
            self._add(path, "number", number[0], start)
        else:
            self._add(path, *self._word(), start)

    def _word(self) -> tuple[Kind, str]:
        for word, text in _WORDS.items():
            if self.text.startswith(word, self.at):
                self.at += len(word)
                self._end_of_word()
                return "null" if word == "null" else "flag", text
        self._fail("A value is missing here: a text in double quotes, a number, true, false, null, { or [.")

    def _end_of_word(self) -> None:
        if self._next().isalnum() or self._next() in ("_", ".", "+", "-"):
            self._fail("This is no number and no word that JSON knows. A text stands in double quotes.")

    def _members(self, path: tuple[str, ...], depth: int) -> None:
        start = self.at
        self.at += 1
        count = 0
        while not self._closes("}", start, "object"):
            if self._next() != '"':
                self._fail("A name in double quotes is missing here.")
            names = tuple(self._string().split(":"))
            self._skip()
            if self._next() != ":":
                self._fail("A colon is missing here, between the name and its value.")
            self.at += 1
            self._skip()
            self._value((*path, *names), depth + 1)
            self._comma("}", "object")
            count += 1
        if not count:
            self._add(path, "empty", "", start)

    def _items(self, path: tuple[str, ...], depth: int) -> None:
        start = self.at
        self.at += 1
        count = 0
        while not self._closes("]", start, "list"):
            self._value((*path, str(count)), depth + 1)
            self._comma("]", "list")
            count += 1
        if not count:
            self._add(path, "empty", "", start)

    def _closes(self, end: str, start: int, what: str) -> bool:
        self._skip()
        if self.at >= len(self.text):
            line, column = _place(self.text, start)
            self._fail(f"The file ends inside the {what} that begins at {line}:{column}; {end} is missing.")
        if self._next() != end:
            return False
        self.at += 1
        return True

    def _comma(self, end: str, what: str) -> None:
        """Step over a comma; a last one before the end is allowed."""
        self._skip()
        if self._next() == ",":
            self.at += 1
        elif self._next() not in (end, ""):
            self._fail(f"A comma, or {end} as the end of the {what}, is missing here.")

    def _string(self) -> str:
        start = self.at
        self.at += 1
        parts: list[str] = []
        while True:
            plain = _PLAIN.match(self.text, self.at)
            if plain:
                parts.append(plain[0])
                self.at = plain.end()
            following = self._next()
            if following == '"':
                self.at += 1
                return self._whole("".join(parts), start)
            if following != "\\":
                self._fail(
                    "A text ends in its line; a double quote is missing." if following else "The file ends in a text."
                )
            parts.append(self._escape())

    def _escape(self) -> str:
        letter = self.text[self.at + 1 : self.at + 2]
        if letter == "u":
            digits = self.text[self.at + 2 : self.at + 6]
            if not re.fullmatch(r"[0-9a-fA-F]{4}", digits):
                self._fail("\\u must be followed by four hexadecimal digits.")
            self.at += 6
            return chr(int(digits, 16))
        if letter not in _ESCAPES or not letter:
            self._fail("This escape is unknown. A backslash itself is written twice.")
        self.at += 2
        return _ESCAPES[letter]

    def _whole(self, text: str, start: int) -> str:
        """Join escaped halves of a character; half a one alone is refused."""
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self.at = start
            self._fail("This text has half a character (a surrogate without its other half).")

    def _skip(self) -> None:
        """Step over white space and comments."""
        while self.at < len(self.text):
            if self.text[self.at] in " \t\r\n":
                self.at += 1
            elif self.text.startswith("//", self.at):
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif self.text.startswith("/*", self.at):
                end = self.text.find("*/", self.at + 2)
                if end < 0:
                    self._fail("This comment has no end; */ is missing.")
                self.at = end + 2
            else:
                return

    def _next(self) -> str:
        return self.text[self.at : self.at + 1]

    def _add(self, path: tuple[str, ...], kind: Kind, text: str, start: int) -> None:
        """Keep a value, unless its name stood before, in whatever case: .NET refuses that too."""
        line, column = _place(self.text, start)
        folded = tuple(part.casefold() for part in path)
        if folded in self._seen:
            what = f"{':'.join(path)} has a value in line {self._seen[folded]} already."
            raise BadFile(self.name, line, column, what)
        self._seen[folded] = line
        self.entries.append(Entry(path, kind, text, line, column))

    def _fail(self, what: str) -> NoReturn:
        raise BadFile(self.name, *_place(self.text, self.at), what)
