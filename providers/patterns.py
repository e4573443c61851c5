"""Regular expressions in definitions: those whose matching could take absurdly long are refused.

Python's matcher goes back and tries anew wherever one text can be divided in several ways, so that a short pattern
can take longer than the universe lasts. The number of ways is bounded here from the pattern's own parse tree:
one for each choice that the next character does not settle. A repeat within which there is such a choice has
exponentially many, and is refused whatever the rest is like.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

MAX_VALUE = 8192  # characters of what is entered into a field
# So many steps are done in a few milliseconds: one part of any length that the next character does not end.
MAX_WAYS = 8 * MAX_VALUE
_PARSER: Any = re._parser  # type: ignore[attr-defined]  # the standard library's own reading of a pattern
_ALL = (1 << 257) - 1  # a bit for each character up to 255, and one for all beyond
_BEYOND = 1 << 256
_NOT_ASCII = _ALL & ~((1 << 128) - 1)
_ALIKE = sum(1 << ord(one) for one in "iksIKS")
_CATEGORIES = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w", "NOT_DIGIT": r"\D", "NOT_SPACE": r"\S", "NOT_WORD": r"\W"}
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")
Tree = Sequence[tuple[Any, Any]]


class _Refused(Exception):
    """Why a pattern is refused."""


def flaw(pattern: str) -> str:
    """Return what is wrong with a pattern, empty if it can be matched with values of any allowed length."""
    try:
        tree = _PARSER.parse(pattern)
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return "is not a regular expression; correct it"
    try:
        ways = _Ways(bool(tree.state.flags & re.IGNORECASE)).of(tree, 0)
    except (_Refused, RecursionError) as refused:
        return f"could take very long to match: it {refused or 'is too deep'}; write it more simply"
    if ways > MAX_WAYS:
        return (
            "could take very long to match: its parts of variable length are not told apart by the character that "
            "follows; write it more simply"
        )
    return ""


class _Ways:
    """Counts in how many ways a text may be divided among a pattern's parts. `after` is always what may follow, as
    a set of characters."""

    def __init__(self, any_case: bool) -> None:
        self._any_case = any_case

    def of(self, tree: Tree, after: int) -> int:
        ways, items = 1, list(tree)
        for place, (what, value) in enumerate(items):
            following = self._following(items[place + 1 :], after)
            ways *= self._of_one(str(what), value, following)
            if ways > MAX_WAYS:
                return ways
        return ways

    def _of_one(self, what: str, value: Any, after: int) -> int:
        if what in _REPEATS:
            return self._of_repeat(value, after)
        if what == "SUBPATTERN":
            return self.of(value[-1], after)
        if what == "ATOMIC_GROUP":
            return self.of(value, 0)
        if what == "BRANCH":
            return self._of_branches(value[1], after)
        if what in ("ASSERT", "ASSERT_NOT"):
            return self.of(value[1], 0)
        if what.startswith("GROUPREF"):
            raise _Refused("refers back to a group")
        return 1

    def _of_repeat(self, value: tuple[Any, Any, Tree], after: int) -> int:
        least, most, body = int(value[0]), int(value[1]), value[2]
        first = self._first(body)
        if most > 1:
            if self._may_be_empty(body):
                raise _Refused("repeats what may be empty")
            if self.of(body, first | after) > 1:
                raise _Refused("repeats what can be divided in several ways")
        inner = 1 if most > 1 else self.of(body, after)
        if most == least or not first & after:
            return inner
        return inner * (min(most, MAX_VALUE) - min(least, MAX_VALUE) + 1)

    def _of_branches(self, branches: Sequence[Tree], after: int) -> int:
        ways = [self.of(one, after) for one in branches]
        seen = 0
        for one in branches:
            first = self._first(one) | (after if self._may_be_empty(one) else 0)
            if first & seen:
                return sum(ways)
            seen |= first
        return max(ways)

    def _following(self, rest: Tree, after: int) -> int:
        return self._first(rest) | (after if self._may_be_empty(rest) else 0)

    def _first(self, tree: Tree) -> int:
        """Return the characters that a text of this pattern may begin with."""
        found = 0
        for what, value in tree:
            found |= self._first_of_one(str(what), value)
            if not self._may_be_empty([(what, value)]):
                break
        return found

    def _first_of_one(self, what: str, value: Any) -> int:
        if what in _REPEATS:
            return self._first(value[2])
        if what == "SUBPATTERN":
            return self._first(value[-1])
        if what == "ATOMIC_GROUP":
            return self._first(value)
        if what == "BRANCH":
            found = 0
            for one in value[1]:
                found |= self._first(one)
            return found
        return 0 if what in ("AT", "ASSERT", "ASSERT_NOT") else self._characters(what, value)

    def _may_be_empty(self, tree: Tree) -> bool:
        for what, value in tree:
            name = str(what)
            if name in _REPEATS:
                empty = value[0] == 0 or self._may_be_empty(value[2])
            elif name in ("SUBPATTERN", "ATOMIC_GROUP"):
                empty = self._may_be_empty(value[-1] if name == "SUBPATTERN" else value)
            elif name == "BRANCH":
                empty = any(self._may_be_empty(one) for one in value[1])
            else:
                empty = name in ("AT", "ASSERT", "ASSERT_NOT")
            if not empty:
                return False
        return True

    def _characters(self, what: str, value: Any) -> int:
        if what == "LITERAL":
            return self._cased(_one(value))
        if what == "NOT_LITERAL":
            return _ALL & ~(_one(value) & ~_BEYOND)
        if what != "IN":
            return _ALL
        found, negated = 0, False
        for kind, inner in value:
            match str(kind):
                case "NEGATE":
                    negated = True
                case "LITERAL":
                    found |= _one(inner)
                case "RANGE":
                    found |= _range(inner[0], inner[1])
                case _:
                    found |= _category(str(inner))
        found = self._cased(found)
        return (_ALL & ~found) | _BEYOND if negated else found

    def _cased(self, found: int) -> int:
        if not self._any_case:
            return found
        for upper in range(ord("A"), ord("Z") + 1):
            both = (1 << upper) | (1 << (upper + 32))
            if found & both:
                found |= both
        # A few letters beyond ASCII are the same as one of ASCII's but for case, such as the sign for kelvin.
        if found & _NOT_ASCII:
            found |= _NOT_ASCII | _ALIKE
        return found | _BEYOND if found & _ALIKE else found


def _one(code: int) -> int:
    return 1 << min(code, 256)


def _range(low: int, high: int) -> int:
    below = ((1 << (min(high, 255) + 1)) - 1) & ~((1 << min(low, 256)) - 1) if low <= 255 else 0
    return below | (_BEYOND if high > 255 else 0)


@cache
def _category(name: str) -> int:
    pattern = re.compile(_CATEGORIES.get(name.removeprefix("CATEGORY_").removeprefix("UNI_"), "."), re.DOTALL)
    return sum(1 << code for code in range(256) if pattern.match(chr(code))) | _BEYOND
