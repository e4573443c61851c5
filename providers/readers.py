"""What each dialect's answers say about what a call took."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from providers import counts
from providers.counts import Usage

USAGE = re.compile(rb'"usage"\s*:\s*(?=\{)')
_ERROR = re.compile(rb'"error"\s*:\s*\{')


class Reader(ABC):
    """What one dialect's answers say. Counts stay None until the provider names them; `guessed` tells whether
    tokens may then be counted from the text that was delivered."""

    guessed = True
    told_in, told_at = "usage", USAGE  # the member that has the numbers, and where to look for its value

    def __init__(self) -> None:
        self.seen: Usage | None = None
        self.model = ""
        self.reference = ""
        self.units = 0  # pictures, where an answer tells no tokens
        self.failed = ""
        self.finished = False

    @abstractmethod
    def body(self, value: Mapping[str, Any]) -> None:
        """Read a whole answer."""

    @abstractmethod
    def wants(self, data: bytes) -> bool:
        """Whether an event can hold anything but a piece of content: a cheap test on its bytes."""

    @abstractmethod
    def makes(self, data: bytes) -> bool:
        """Whether an event brings new content: closing events may repeat what came before."""

    @abstractmethod
    def event(self, value: Mapping[str, Any]) -> bool:
        """Read an event; return True if it carries usage and nothing else."""

    def _named(self, value: Mapping[str, Any]) -> None:
        if not self.model and isinstance(value.get("model"), str):
            self.model = value["model"]

    def _error(self, error: Any) -> bool:
        if not isinstance(error, Mapping):
            return False
        kind = error.get("type") or error.get("code")
        self.failed = kind[:64] if isinstance(kind, str) and kind else "error"
        return True


class OpenAIReader(Reader):
    """Chat completions and embeddings."""

    def body(self, value: Mapping[str, Any]) -> None:
        self._named(value)
        self._error(value.get("error"))
        self._usage(value)

    def wants(self, data: bytes) -> bool:
        return not self.model or USAGE.search(data) is not None or _ERROR.search(data) is not None

    def makes(self, data: bytes) -> bool:
        return True

    def event(self, value: Mapping[str, Any]) -> bool:
        self._named(value)
        self._error(value.get("error"))
        return self._usage(value) and value.get("choices") == []

    def _usage(self, value: Mapping[str, Any]) -> bool:
        usage = value.get("usage")
        if not isinstance(usage, Mapping):
            return False
        self.seen = counts.of_openai(usage, self.model, value.get("service_tier"))
        return True


class ResponsesReader(Reader):
    """Responses: the closing events carry the whole response, usage included."""

    ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})

    def body(self, value: Mapping[str, Any]) -> None:
        self._named(value)
        if value.get("status") == "failed" and not self._error(value.get("error")):
            self.failed = "failed"
        usage = value.get("usage")
        if isinstance(usage, Mapping):
            self.seen = counts.of_openai(usage, self.model, value.get("service_tier"))
        if value.get("background") is True and isinstance(value.get("id"), str):
            # It is made whether or not somebody listens, and tells its usage to whoever fetches it.
            self.reference = "" if self.seen else value["id"][:100]

    def wants(self, data: bytes) -> bool:
        return not self.model or b'"usage"' in data or b'"error"' in data or b'"response.failed"' in data

    def makes(self, data: bytes) -> bool:
        return b'.delta"' in data

    def event(self, value: Mapping[str, Any]) -> bool:
        kind = value.get("type")
        response = value.get("response")
        if isinstance(response, Mapping):
            self.body(response)
        if isinstance(kind, str) and kind in self.ENDS:
            self.finished = True
        if kind == "response.failed":
            self.failed = self.failed or "failed"
        if kind == "error":
            self._error(value.get("error") if isinstance(value.get("error"), Mapping) else value)
            if self.failed == "error" and isinstance(value.get("code"), str):
                self.failed = value["code"][:64] or "error"
        return False


class AnthropicReader(Reader):
    """Messages: usage comes in two parts, and the later one is cumulative."""

    def __init__(self) -> None:
        super().__init__()
        self._merged: dict[str, Any] = {}

    def body(self, value: Mapping[str, Any]) -> None:
        self._named(value)
        if value.get("type") == "error":
            self._error(value.get("error"))
        self._merge(value.get("usage"))

    def wants(self, data: bytes) -> bool:
        return b'"usage"' in data or b'"error"' in data or b'"message_stop"' in data

    def makes(self, data: bytes) -> bool:
        return b'"content_block_delta"' in data

    def event(self, value: Mapping[str, Any]) -> bool:
        kind = value.get("type")
        if kind == "message_start" and isinstance(value.get("message"), Mapping):
            self.body(value["message"])
        elif kind == "message_delta":
            self._merge(value.get("usage"))
        elif kind == "message_stop":
            self.finished = True
        elif kind == "error":
            self._error(value.get("error"))
        return False

    def _merge(self, usage: Any) -> None:
        """Overwrite, do not add; a count that is null in the later part keeps its first value."""
        if not isinstance(usage, Mapping):
            return
        self._merged.update({key: value for key, value in usage.items() if value is not None})
        self.seen = counts.of_anthropic(self._merged, self.model)
