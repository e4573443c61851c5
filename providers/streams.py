"""Usage out of answers: whole bodies, and event streams cut anywhere."""

import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

from providers import counts
from providers.counts import Estimate, Usage
from providers.manifest import Dialect

MAX_PARSED = 8 * 1024 * 1024
_TAIL = 64 * 1024
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r){2}")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_USAGE = re.compile(rb'"usage"\s*:\s*(?=\{)')
_ERROR = re.compile(rb'"error"\s*:\s*\{')
# The keys under which the dialects stream what a model made.
_MADE = re.compile(
    rb'"(?:content|refusal|arguments|reasoning|reasoning_content|text|thinking|partial_json|delta)"\s*:\s*'
    rb'"((?:[^"\\]|\\.)*+)"'
)
BYTES_PER_TOKEN = 3  # fewer than any common text or code has, so that a guess is not below the truth


class Reader:
    """What one dialect's answers say. Counts stay None until the provider names them."""

    def __init__(self) -> None:
        self.seen: Usage | None = None
        self.model = ""
        self.failed = ""
        self.finished = False

    def body(self, value: Mapping[str, Any]) -> None:
        """Read a whole answer."""
        raise NotImplementedError

    def wants(self, data: bytes) -> bool:
        """Whether an event can hold anything but a piece of content: a cheap test on its bytes."""
        raise NotImplementedError

    def event(self, value: Mapping[str, Any]) -> bool:
        """Read an event; return True if it carries usage and nothing else."""
        raise NotImplementedError

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
        return not self.model or _USAGE.search(data) is not None or _ERROR.search(data) is not None

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

    def wants(self, data: bytes) -> bool:
        return not self.model or b'"usage"' in data or b'"error"' in data or b'"response.failed"' in data

    def event(self, value: Mapping[str, Any]) -> bool:
        kind = value.get("type")
        response = value.get("response")
        if isinstance(response, Mapping):
            self.body(response)
        if kind in self.ENDS:
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


_READERS: dict[Dialect, type[Reader]] = {
    "openai_chat": OpenAIReader,
    "openai_embeddings": OpenAIReader,
    "openai_responses": ResponsesReader,
    "anthropic_messages": AnthropicReader,
}


def reader_for(dialect: Dialect) -> Reader | None:
    """Return a new reader, or None for what is not metered in tokens."""
    kind = _READERS.get(dialect)
    return kind() if kind else None


class NoMeter:
    """For answers that take no tokens: lists, counts, errors."""

    failed = ""
    finished = True

    def feed(self, chunk: bytes) -> bytes:
        """Pass everything on."""
        return chunk

    def end(self) -> bytes:
        """Nothing was held back."""
        return b""

    def usage(self, estimate: Estimate) -> Usage:
        """Return no tokens."""
        return Usage(0, 0, model=estimate.model)


class BodyMeter:
    """Reads an answer that comes whole."""

    def __init__(self, reader: Reader) -> None:
        self.failed = ""
        self.finished = False
        self._reader = reader
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> bytes:
        """Keep a copy and pass the piece on. Of an answer above MAX_PARSED only the end is kept, where
        the usage stands."""
        self._pieces.append(chunk)
        self._size += len(chunk)
        if self._size > MAX_PARSED and len(self._pieces) > 1:
            self._pieces = [b"".join(self._pieces)[-MAX_PARSED:]]
        return chunk

    def end(self) -> bytes:
        """Read what was kept."""
        self.finished = True
        body = _plain(self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces))
        self._pieces = []
        if self._size > MAX_PARSED:
            self._read_tail(body[-_TAIL:])
        elif body.startswith((b"data:", b"event:", b":")):
            self._read_events(body)
        else:
            self._read_whole(body)
        return b""

    def usage(self, estimate: Estimate) -> Usage:
        """Return the provider's numbers, or the estimate where it gave none."""
        if self._reader.seen is not None:
            return _with_model(self._reader.seen, estimate)
        return Usage(
            estimate.input_tokens if self.finished and not self.failed else 0,
            min(estimate.output_tokens, -(-self._size // BYTES_PER_TOKEN)),
            model=self._reader.model or estimate.model,
            counted_by="estimated",
        )

    def _read_whole(self, body: bytes) -> None:
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            self.failed = "malformed_answer"
            return
        self._reader.body(value)
        self.failed = self._reader.failed

    def _read_events(self, body: bytes) -> None:
        """A provider may stream although it was not asked to."""
        events = EventMeter(self._reader, hide_usage=False)
        events.feed(body)
        events.end()
        self.failed = events.failed

    def _read_tail(self, tail: bytes) -> None:
        found = list(_USAGE.finditer(tail))
        if not found:
            return
        try:
            usage, _ = json.JSONDecoder().raw_decode(tail[found[-1].end() :].decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return
        self._reader.body({"usage": usage})


def _plain(body: bytes) -> bytes:
    """Return the body readable: some servers compress although they were asked not to."""
    if not body.startswith(b"\x1f\x8b"):
        return body
    try:
        return zlib.decompressobj(wbits=31).decompress(body, MAX_PARSED)
    except zlib.error:
        return body


def _with_model(usage: Usage, estimate: Estimate) -> Usage:
    if usage.model:
        return usage
    values = {name: getattr(usage, name) for name in Usage.__slots__}
    return Usage(**{**values, "model": estimate.model})


class EventMeter:
    """Reads a stream of server-sent events, whose pieces may be cut anywhere.

    Pieces are passed on as they are. Only where the event with nothing but usage must be left out,
    an event is held back until it is complete.
    """

    def __init__(self, reader: Reader, *, hide_usage: bool) -> None:
        self.failed = ""
        self.finished = False
        self._reader = reader
        self._hide = hide_usage
        self._tail = b""
        self._lost = False
        self._begun = False
        self._events = 0
        self._made = 0

    def feed(self, chunk: bytes) -> bytes:
        """Read the events that are complete with this piece."""
        if self._lost:
            return chunk
        buffer = self._tail + chunk if self._tail else chunk
        cut = _last_break(buffer)
        self._tail = buffer[cut:]
        dropped = self._read(buffer[:cut]) if cut else []
        if len(self._tail) > MAX_PARSED:
            return self._give_up(buffer, chunk, dropped)
        if not self._hide:
            return chunk
        return _without(buffer[:cut], dropped)

    def end(self) -> bytes:
        """Read what is left: a last event may lack its blank line, and an answer may not be a stream."""
        rest, self._tail = self._tail, b""
        if rest and not self._begun and rest.lstrip()[:1] in (b"{", b"\x1f", b""):
            whole = BodyMeter(self._reader)
            whole.feed(rest)
            whole.end()
            self.finished, self.failed = True, whole.failed
            return rest if self._hide else b""
        dropped = self._read(rest) if rest else []
        return _without(rest, dropped) if self._hide else b""

    def usage(self, estimate: Estimate) -> Usage:
        """Return the provider's numbers; what it did not say is counted from what was delivered."""
        seen = self._reader.seen
        delivered = max(self._events, -(-self._made // BYTES_PER_TOKEN))
        if seen is None:
            model = self._reader.model or estimate.model
            return Usage(estimate.input_tokens, delivered, model=model, counted_by="estimated")
        if not self.finished and seen.output_tokens < delivered:
            values = {name: getattr(seen, name) for name in Usage.__slots__}
            seen = Usage(**{**values, "output_tokens": delivered, "counted_by": "estimated"})
        return _with_model(seen, estimate)

    def _give_up(self, buffer: bytes, chunk: bytes, dropped: list[tuple[int, int]]) -> bytes:
        """An event of many megabytes is not read; from here on everything passes unread."""
        self._lost = True
        self._made += len(self._tail)
        self._tail = b""
        return _without(buffer, dropped) if self._hide else chunk

    def _read(self, block: bytes) -> list[tuple[int, int]]:
        """Read whole events; return the spans of those that only carry usage."""
        dropped: list[tuple[int, int]] = []
        start = 0
        for end in _breaks(block):
            if end > start and self._event(block[start:end]):
                dropped.append((start, end))
            start = end
        if start < len(block) and self._event(block[start:]):
            dropped.append((start, len(block)))
        return dropped

    def _event(self, event: bytes) -> bool:
        data = _data_of(event)
        if not data:
            return False
        self._begun = True
        if data == b"[DONE]":
            self.finished = self._reader.finished = True
            return False
        made = sum(map(len, _MADE.findall(data)))
        if made:
            self._made += made
            self._events += 1
        if not self._reader.wants(data):
            return False
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            return False
        if not isinstance(value, dict):
            return False
        only_usage = self._reader.event(value)
        self.failed, self.finished = self._reader.failed, self._reader.finished
        return only_usage


def _breaks(block: bytes) -> list[int]:
    """Return where the events in a block end."""
    if b"\r" in block:
        return [found.end() for found in _BLANK_LINE.finditer(block)]
    ends = []
    at = block.find(b"\n\n")
    while at >= 0:
        ends.append(at + 2)
        at = block.find(b"\n\n", at + 2)
    return ends


def _last_break(buffer: bytes) -> int:
    """Return where the last complete event ends; 0 if none is complete."""
    if b"\r" in buffer:
        ends = _breaks(buffer)
        return ends[-1] if ends else 0
    return buffer.rfind(b"\n\n") + 2 if b"\n\n" in buffer else 0


def _data_of(event: bytes) -> bytes:
    """Return an event's data: its data lines joined; comments and other fields are left out."""
    event = event.strip(b"\r\n")
    if event.startswith(b"data: ") and b"\n" not in event and b"\r" not in event:
        return event[6:]
    lines = []
    for line in _LINE_END.split(event):
        if line.startswith(b"data:"):
            lines.append(line[6:] if line[5:6] == b" " else line[5:])
    return b"\n".join(lines)


def _without(block: bytes, spans: list[tuple[int, int]]) -> bytes:
    """Return the block without these spans."""
    if not spans:
        return block
    kept, at = [], 0
    for start, end in spans:
        kept.append(block[at:start])
        at = end
    kept.append(block[at:])
    return b"".join(kept)
