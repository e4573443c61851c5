"""Usage out of answers as they pass: whole bodies, and event streams cut anywhere."""

import json
import re
import zlib
from dataclasses import replace

from providers.counts import Estimate, Told, Usage
from providers.payloads import parsed
from providers.readers import Reader

MAX_PARSED = 8 * 1024 * 1024
_TAIL = 64 * 1024
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r){2}")
_LINE_END = re.compile(rb"\r\n|\n|\r")
# The keys under which the dialects stream what a model made.
_MADE = re.compile(
    rb'"(?:content|refusal|arguments|reasoning|reasoning_content|text|thinking|partial_json|delta)"\s*:\s*'
    rb'"((?:[^"\\]|\\.)*+)"'
)
BYTES_PER_TOKEN = 3  # fewer than any common text or code has, so that a guess is not below the truth


class NoMeter(Told):
    """For answers that take no tokens: lists, counts, errors."""

    failed = ""
    garbled = False
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


class BodyMeter(Told):
    """Reads an answer that comes whole."""

    def __init__(self, reader: Reader) -> None:
        self.failed = ""
        self.garbled = True
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
        self.reference = self._reader.reference
        return b""

    def usage(self, estimate: Estimate) -> Usage:
        """Return the provider's numbers, or the estimate where it gave none."""
        if self._reader.seen is not None:
            return _with_model(self._reader.seen, estimate)
        model = self._reader.model or estimate.model
        if self._reader.failed or not self._reader.guessed:
            return _untold(self._reader, model, estimate)
        made = min(estimate.output_tokens, -(-self._size // BYTES_PER_TOKEN))
        if self._reader.reference:
            made = estimate.output_tokens  # it goes on being made
        return Usage(estimate.input_tokens, made, model=model, counted_by="estimated")

    def _read_whole(self, body: bytes) -> None:
        try:
            value = parsed(body)
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
        found = list(self._reader.told_at.finditer(tail))
        if not found:
            return
        try:
            usage, _ = json.JSONDecoder().raw_decode(tail[found[-1].end() :].decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return
        self._reader.body({self._reader.told_in: usage})


def _plain(body: bytes) -> bytes:
    """Return the body readable: some servers compress although they were asked not to."""
    if not body.startswith(b"\x1f\x8b"):
        return body
    try:
        return zlib.decompressobj(wbits=31).decompress(body, MAX_PARSED)
    except zlib.error:
        return body


def _untold(reader: Reader, model: str, estimate: Estimate) -> Usage:
    """Return what is known of an answer that tells no tokens: nothing if it is an error, else its pictures."""
    if reader.failed:
        return Usage(0, 0, model=model)
    return Usage(0, 0, model=model, untold=True, units=reader.units or estimate.units)


def _with_model(usage: Usage, estimate: Estimate) -> Usage:
    if usage.model:
        return usage
    return replace(usage, model=estimate.model)


class EventMeter(Told):
    """Reads a stream of server-sent events, whose pieces may be cut anywhere.

    Pieces are passed on as they are. Only where the event with nothing but usage must be left out,
    an event is held back until it is complete.
    """

    def __init__(self, reader: Reader, *, hide_usage: bool) -> None:
        self.failed = ""
        self.garbled = True
        self.finished = False
        self._reader = reader
        self._hide = hide_usage
        self._held: list[bytes] = []  # an event's pieces, joined only when its end can be among them
        self._held_bytes = 0
        self._lost = False
        self._begun = False
        self._events = 0
        self._made = 0

    def feed(self, chunk: bytes) -> bytes:
        """Read the events that are complete with this piece."""
        if self._lost:
            return chunk
        if self._held and b"\n" not in chunk and b"\r" not in chunk:
            self._hold(chunk)
            return self._give_up(chunk) if self._held_bytes > MAX_PARSED else b"" if self._hide else chunk
        buffer = b"".join((*self._held, chunk)) if self._held else chunk
        if buffer.find(b"\n\n") == len(buffer) - 2 > 0 and b"\r" not in buffer:
            # One whole event in one piece: by far the most common case.
            self._held, self._held_bytes = [], 0
            passed = b"" if self._event(buffer) else buffer
            return passed if self._hide else chunk
        cut = _last_break(buffer)
        self._held, self._held_bytes = [], 0
        if cut < len(buffer):
            self._hold(buffer[cut:])
        dropped = self._read(buffer[:cut]) if cut else []
        passed = _without(buffer[:cut], dropped) if self._hide else chunk
        return passed + self._give_up(b"") if self._held_bytes > MAX_PARSED else passed

    def end(self) -> bytes:
        """Read what is left: a last event may lack its blank line, and an answer may not be a stream."""
        rest = b"".join(self._held)
        self._held, self._held_bytes = [], 0
        if rest and not self._begun and rest.lstrip()[:1] in (b"{", b"\x1f", b""):
            whole = BodyMeter(self._reader)
            whole.feed(rest)
            whole.end()
            self.finished, self.failed = True, whole.failed
            self._made += len(rest)
            return rest if self._hide else b""
        dropped = self._read(rest) if rest else []
        return _without(rest, dropped) if self._hide else b""

    def usage(self, estimate: Estimate) -> Usage:
        """Return the provider's numbers; what it did not say is counted from what was delivered."""
        seen = self._reader.seen
        delivered = max(self._events, -(-self._made // BYTES_PER_TOKEN))
        if seen is None:
            model = self._reader.model or estimate.model
            if (self._reader.failed and not delivered) or not self._reader.guessed:
                return _untold(self._reader, model, estimate)
            return Usage(estimate.input_tokens, delivered, model=model, counted_by="estimated")
        if not self.finished and seen.output_tokens < delivered:
            seen = replace(seen, output_tokens=delivered, counted_by="estimated")
        return _with_model(seen, estimate)

    def _hold(self, piece: bytes) -> None:
        self._held.append(piece)
        self._held_bytes += len(piece)

    def _give_up(self, chunk: bytes) -> bytes:
        """An event of many megabytes is not read; from here on everything passes unread. Return what
        is to be passed on of what was held, `chunk` being its last piece."""
        held = b"".join(self._held)
        self._lost = True
        self._made += self._held_bytes
        self._held, self._held_bytes = [], 0
        return held if self._hide else chunk

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
        if self._reader.makes(data) and (made := sum(map(len, _MADE.findall(data)))):
            self._made += made
            self._events += 1
        if not self._reader.wants(data):
            return False
        try:
            value = parsed(data)
        except (ValueError, RecursionError):
            return False
        if not isinstance(value, dict):
            return False
        only_usage = self._reader.event(value)
        self.failed, self.finished = self._reader.failed, self._reader.finished
        self.reference = self._reader.reference
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
    at = event.find(b"data:")
    if at < 0:
        return b""
    if at == 0 or event[at - 1] == 0x0A:
        rest = event[at + 5 :].strip(b"\r\n")
        if b"\n" not in rest and b"\r" not in rest:
            return rest.lstrip(b" ")
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
