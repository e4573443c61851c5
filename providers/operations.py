"""What a provider does: which requests are which operation, and how each is metered."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from typing import Literal

Dialect = Literal[
    "none",
    "json",
    "openai_chat",
    "openai_responses",
    "openai_embeddings",
    "openai_images",
    "openai_speech",
    "openai_transcription",
    "openai_later",
    "anthropic_messages",
    "anthropic_later",
    "gemini",
    "captcha",
    "jsonrpc",
]
ANY = "*"
_SEGMENT = re.compile(r"\{([a-z_]+)\}")
_UNNAMED = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True, slots=True)
class UsagePaths:
    """Where an answer's JSON has its numbers; what stands at several paths is added up."""

    input_tokens: tuple[tuple[str, ...], ...] = ()
    output_tokens: tuple[tuple[str, ...], ...] = ()
    cached_tokens: tuple[tuple[str, ...], ...] = ()
    reasoning_tokens: tuple[tuple[str, ...], ...] = ()
    model: tuple[tuple[str, ...], ...] = ()
    cost: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that a provider does: which requests it takes and how they are metered.

    `path` follows the provider's slug: `{name}` stands for one segment, a final `/*` for any rest, `*` for
    any path. `methods` may be `("*",)`. `system` says whether the house's own key may serve it; `requests`
    is what one call counts as; `unit_price` is in US dollars for a call that succeeds.
    """

    name: str
    methods: tuple[str, ...]
    path: str
    dialect: Dialect = "none"
    system: bool = False
    requests: int = 1
    unit_price: Decimal | None = None
    output_limit: str = ""
    ask_usage: bool = True
    usage: UsagePaths | None = None


class Routes:
    """Finds the operation of a request. Fixed paths win over patterns, these count in their order."""

    __slots__ = ("_exact", "_patterns")

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._exact: dict[tuple[str, str], Operation] = {}
        self._patterns: list[tuple[frozenset[str], re.Pattern[str], Operation]] = []
        for one in operations:
            if ANY in one.methods or "{" in one.path or one.path.endswith(ANY):
                self._patterns.append((frozenset(one.methods), _compiled(one.path), one))
            else:
                for method in one.methods:
                    self._exact.setdefault((method, one.path), one)

    def match(self, method: str, path: str) -> Operation | None:
        """Return the operation that this request is. One whose path has a slash too many is metered like the
        one without, since a provider may take it for that; no key of the house serves it."""
        found = self._exact.get((method, path))
        if found is not None:
            return found
        if (path.endswith("/") or "//" in path) and (meant := self._exact.get((method, _tidy(path)))) is not None:
            return replace(meant, system=False)
        for methods, pattern, operation in self._patterns:
            if (method in methods or ANY in methods) and (hit := pattern.fullmatch(path)):
                return _named(operation, hit) if "{" in operation.name else operation
        return None


def _tidy(path: str) -> str:
    return "/" + "/".join(filter(None, path.split("/")))


def _compiled(path: str) -> re.Pattern[str]:
    if path == ANY:
        return re.compile(r"/.*", re.DOTALL)
    fixed, rest = (path[:-1], r".+") if path.endswith("/*") else (path, "")
    parts = _SEGMENT.split(fixed)
    # Every second part is the name of a segment.
    text = "".join(f"(?P<{part}>[^/]+)" if place % 2 else re.escape(part) for place, part in enumerate(parts))
    return re.compile(text + rest, re.DOTALL)


def _named(operation: Operation, hit: re.Match[str]) -> Operation:
    (segment,) = _SEGMENT.findall(operation.name)
    return _renamed(operation, _SEGMENT.sub(_UNNAMED.sub("", hit[segment][:48]) or "other", operation.name))


@lru_cache(maxsize=2048)
def _renamed(operation: Operation, name: str) -> Operation:
    return replace(operation, name=name[:64])


def fits(patterns: Iterable[str], path: str) -> bool:
    """Whether a path is one of these, of which some may end with /*."""
    return any(path.startswith(one[:-1]) if one.endswith("/*") else path == one for one in patterns)
