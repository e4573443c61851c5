"""Providers on a loopback HTTP server: they answer as the real ones are documented to."""

import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

GATE_SECONDS = 30
WORDS = ["A", " quota", " is", " held", " before", " the", " call", "."]
CHAT_USAGE = {
    "prompt_tokens": 21,
    "completion_tokens": 9,
    "total_tokens": 30,
    "prompt_tokens_details": {"cached_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
RESPONSES_USAGE = {
    "input_tokens": 21,
    "output_tokens": 9,
    "total_tokens": 30,
    "input_tokens_details": {"cached_tokens": 5},
    "output_tokens_details": {"reasoning_tokens": 3},
}
MESSAGE_USAGE = {
    "input_tokens": 12,
    "output_tokens": 9,
    "cache_creation_input_tokens": 4,
    "cache_read_input_tokens": 5,
}


@dataclass(slots=True)
class Seen:
    """One request as it reached the provider."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Manner:
    """How the provider answers until told otherwise."""

    status: int = 200
    body: bytes | None = None
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    delay: float = 0.0
    pace: float = 0.0
    gate: threading.Event | None = None
    reply: "Callable[[Seen], Reply] | None" = None


@dataclass(slots=True)
class Reply:
    """One answer as it is written down for a test."""

    status: int = 200
    value: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        return self.value if isinstance(self.value, bytes) else json.dumps(self.value).encode()


class FakeProvider:
    """OpenAI and Anthropic on one loopback address; use as a context manager."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.left = 0  # callers that went while a gate was closed
        self.manner = Manner()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reset(self) -> None:
        """Forget what was seen and behave again."""
        self.seen.clear()
        self.left = 0
        self.manner = Manner()


class QuietServer(ThreadingHTTPServer):
    """One that reports nothing."""

    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is part of the tests."""


class QuietHandler(BaseHTTPRequestHandler):
    """One that reports nothing, and keeps connections open."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet."""


class _Server(QuietServer):
    fake: FakeProvider


class _Handler(QuietHandler):
    server: _Server

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("content-length", 0))))

    do_PUT = do_PATCH = do_DELETE = do_HEAD = do_POST

    def _answer(self, body: bytes) -> None:
        fake, manner = self.server.fake, self.server.fake.manner
        fake.seen.append(Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        time.sleep(manner.delay)
        if manner.reply is not None:
            reply = manner.reply(fake.seen[-1])
            self._send(reply.status, reply.body, Manner(headers=reply.headers))
            return
        if manner.body is not None or manner.status != 200:
            self._send(manner.status, manner.body or b'{"error":{"message":"no","type":"server_error"}}', manner)
            return
        request = json.loads(body) if body else {}
        if request.get("stream"):
            self._stream(events(self.path, request), manner)
        else:
            self._send(200, json.dumps(answer(self.path, request)).encode(), manner)

    def _send(self, status: int, body: bytes, manner: Manner) -> None:
        self.send_response(status)
        self.send_header("content-type", manner.headers.pop("content-type", manner.content_type))
        self.send_header("content-length", str(len(body)))
        for name, value in {"x-request-id": "req_upstream", **manner.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if manner.cut_after is None else body[: manner.cut_after])
        if manner.cut_after is not None:
            self._break_off()

    def _stream(self, parts: Iterator[bytes], manner: Manner) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number, part in enumerate(parts):
            if manner.cut_after is not None and number == manner.cut_after:
                self._break_off()
                return
            if manner.gate is not None and number == 3 and not self._wait(manner.gate):
                return
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.flush()
            time.sleep(manner.pace)
        self.wfile.write(b"0\r\n\r\n")

    def _wait(self, gate: threading.Event) -> bool:
        """Wait until the gate opens; tell whether the caller is still there."""
        end = time.monotonic() + GATE_SECONDS
        while not gate.wait(0.05) and time.monotonic() < end:
            if select.select([self.connection], [], [], 0)[0] and not self.connection.recv(1, socket.MSG_PEEK):
                self.server.fake.left += 1
                return False
        return True

    def _break_off(self) -> None:
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True


def answer(path: str, request: dict[str, Any]) -> dict[str, Any]:
    """Return the whole answer to a request without streaming."""
    model = request.get("model", "gpt-4o-mini")
    text = "".join(WORDS)
    if path.endswith("/chat/completions"):
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1760000000,
            "model": model,
            "choices": [choice],
            "usage": CHAT_USAGE,
        }
    if path.endswith("/responses"):
        return _response(model, "completed", text)
    if path.endswith("/embeddings"):
        return {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}],
            "model": model,
            "usage": {"prompt_tokens": 8, "total_tokens": 8},
        }
    if path.endswith("/messages"):
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": MESSAGE_USAGE,
        }
    return {"object": "list", "data": [{"id": model, "object": "model", "created": 1, "owned_by": "fake"}]}


def _response(model: str, status: str, text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1760000000,
        "status": status,
        "model": model,
        "output": [{"id": "msg_1", "type": "message", "role": "assistant", "status": status, "content": content}],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": RESPONSES_USAGE if status == "completed" else None,
    }


def events(path: str, request: dict[str, Any]) -> Iterator[bytes]:
    """Return the pieces of a streamed answer."""
    model = request.get("model", "gpt-4o-mini")
    if path.endswith("/chat/completions"):
        return _chat_events(model, bool((request.get("stream_options") or {}).get("include_usage")))
    if path.endswith("/responses"):
        return _responses_events(model)
    return _message_events(model)


def _data(value: Any, name: str = "") -> bytes:
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + json.dumps(value).encode() + b"\n\n"


def _chat_events(model: str, include_usage: bool) -> Iterator[bytes]:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1760000000, "model": model}
    extra = {"usage": None} if include_usage else {}
    for word in WORDS:
        yield _data({**base, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}], **extra})
    yield _data({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], **extra})
    if include_usage:
        yield _data({**base, "choices": [], "usage": CHAT_USAGE})
    yield b"data: [DONE]\n\n"


def _responses_events(model: str) -> Iterator[bytes]:
    opening = {"type": "response.created", "sequence_number": 0, "response": _response(model, "in_progress", "")}
    yield _data(opening, "response.created")
    for number, word in enumerate(WORDS, 1):
        delta = {
            "type": "response.output_text.delta",
            "sequence_number": number,
            "item_id": "msg_1",
            "output_index": 0,
            "content_index": 0,
            "delta": word,
            "logprobs": [],
        }
        yield _data(delta, "response.output_text.delta")
    done = {
        "type": "response.completed",
        "sequence_number": 99,
        "response": _response(model, "completed", "".join(WORDS)),
    }
    yield _data(done, "response.completed")


def _message_events(model: str) -> Iterator[bytes]:
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**MESSAGE_USAGE, "output_tokens": 1},
    }
    yield _data({"type": "message_start", "message": message}, "message_start")
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    yield _data(block, "content_block_start")
    for word in WORDS:
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
        yield _data(delta, "content_block_delta")
    yield _data({"type": "content_block_stop", "index": 0}, "content_block_stop")
    ending = {"stop_reason": "end_turn", "stop_sequence": None}
    yield _data({"type": "message_delta", "delta": ending, "usage": {"output_tokens": 9}}, "message_delta")
    yield _data({"type": "message_stop"}, "message_stop")
