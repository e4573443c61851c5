"""JSON-RPC messages (jsonrpc.org) as calls: which method one is, what it counts as, whether its answer is an error."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from providers.counts import Estimate, Told, Usage
from providers.operations import Operation

MAX_EVENT = 8 * 1024 * 1024
# Longer than any method or tool has a name.
_LONGEST, _LONGEST_NAME = 48, 128
_UNNAMED = re.compile(r"[^A-Za-z0-9_./-]")
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r){2}")
_LINE_END = re.compile(rb"\r\n|\n|\r")


def named(operation: Operation, message: Mapping[str, Any]) -> Operation:
    """Return the operation by the name of the message's method. Notifications, and a client's answers to what a
    server asked, belong to another call and count as nothing; no message at all leaves the operation as it is."""
    method = message.get("method")
    if isinstance(method, str):
        # By name, not by the missing id: a server might carry out a call that has none.
        aside = method.startswith("notifications/")
        name = _UNNAMED.sub("", method)[:_LONGEST] or "other"
        return replace(operation, name=name, requests=0 if aside else operation.requests)
    if "result" in message or "error" in message:
        return replace(operation, name="answer", requests=0)
    return operation


def estimate(operation: Operation, message: Mapping[str, Any]) -> Estimate:
    """Return what a message counts as; the tool or prompt that it names stands where others have a model. Any
    answer may be a stream."""
    params = message.get("params")
    name = params.get("name") if isinstance(params, Mapping) else None
    shown = name if isinstance(name, str) and name.isprintable() and len(name) <= _LONGEST_NAME else ""
    return Estimate(operation.requests, 0, 0, shown, True)


def split(held: bytes) -> tuple[list[bytes], bytes]:
    """Return the events that are complete, each with the blank line that ends it, and the rest."""
    events, start = [], 0
    for end in _BLANK_LINE.finditer(held):
        events.append(held[start : end.end()])
        start = end.end()
    return events, held[start:]


def read(event: bytes) -> tuple[str, bytes]:
    """Return an event's name and data (WHATWG HTML, 9.2)."""
    name, data = "message", []
    for line in _LINE_END.split(event):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            name = value.decode("utf-8", "replace")
        elif field == b"data":
            data.append(value)
    return name, b"\n".join(data)


def answers(body: bytes, *, stream: bool) -> Iterator[Mapping[str, Any]]:
    """Yield the answers, results and errors, in a body or in what there is of a stream."""
    for text in [read(one)[1] for one in split(body)[0]] if stream else [body]:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, Mapping) and value.get("jsonrpc") == "2.0" and ("result" in value or "error" in value):
            yield value


class AnswerMeter(Told):
    """Looks for an error among the answers, in a body or a stream."""

    garbled = False
    # A server may end a stream and go on in another one: an end is never too early.
    finished = True

    def __init__(self) -> None:
        self.failed = ""
        self._held = b""
        self._stream: bool | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Keep a copy of what is not complete, and pass the piece on. What is above MAX_EVENT is not looked at."""
        self._held += chunk
        if self._stream is None and self._held.strip():
            self._stream = self._held.lstrip()[:1] not in (b"{", b"[")
        if self._stream:
            events, self._held = split(self._held)
            if any(b'"error"' in event for event in events):
                self._look(b"".join(events))
        if len(self._held) > MAX_EVENT:
            self._held = b""
        return chunk

    def end(self) -> bytes:
        """Look at a whole body."""
        if not self._stream:
            self._look(self._held)
        self._held = b""
        return b""

    def _look(self, body: bytes) -> None:
        for answer in answers(body, stream=bool(self._stream)):
            error = answer.get("error")
            if isinstance(error, Mapping):
                code = error.get("code")
                self.failed = f"rpc_{code}"[:64] if isinstance(code, int) else "rpc_error"

    def usage(self, estimate: Estimate) -> Usage:
        """Return no tokens: the protocol knows none."""
        return Usage(0, 0, model=estimate.model)
