"""The built-in practice provider: OpenAI's chat format, made-up answers, nothing leaves this server."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from providers.adapter import Adapter, Answer, Asked, Said
from providers.manifest import Operation

MODEL = "sandbox-1"
CREATED = 1_760_000_000
_JSON = [(b"content-type", b"application/json")]
_EVENTS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
_QUOTED = 200


@dataclass(frozen=True, slots=True)
class SandboxAnswer:
    """An answer as a real provider would give it."""

    status: int
    headers: list[tuple[bytes, bytes]]
    chunks: list[bytes]


class Sandbox(Adapter):
    """Answers in the place of a provider that is none."""

    async def answer(self, asked: Asked) -> Answer:
        """Return the practice answer."""
        made = answer(asked.operation, asked.parsed or {})
        return Said(made.status, made.headers, made.chunks)


def answer(operation: Operation, body: Mapping[str, Any]) -> SandboxAnswer:
    """Return the practice answer to a request: the same for the same request, labelled as made up."""
    if operation.dialect != "openai_chat":
        return _json(200, _models() if operation.name == "models" else _model())
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return _invalid("'messages' must be a list with at least one message.", "messages")
    text, usage, reason = _reply(messages, _limit(body))
    base = {"id": _id(body), "created": CREATED, "model": MODEL, "system_fingerprint": "sandbox"}
    if body.get("stream"):
        options = body.get("stream_options") or {}
        events = _events(base, text, reason, usage if options.get("include_usage") else None)
        return SandboxAnswer(200, list(_EVENTS), list(events))
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    return _json(200, {**base, "object": "chat.completion", "choices": [choice], "usage": usage})


def _json(status: int, value: Mapping[str, Any]) -> SandboxAnswer:
    return SandboxAnswer(status, list(_JSON), [json.dumps(value).encode()])


def _invalid(message: str, param: str) -> SandboxAnswer:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": None}
    return _json(400, {"error": error})


def _models() -> dict[str, Any]:
    return {"object": "list", "data": [_model()]}


def _model() -> dict[str, Any]:
    return {"id": MODEL, "object": "model", "created": CREATED, "owned_by": "digitalme"}


def _id(body: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return f"chatcmpl-sandbox-{digest[:24]}"


def _limit(body: Mapping[str, Any]) -> int | None:
    given = [body.get(key) for key in ("max_completion_tokens", "max_tokens")]
    return next((limit for limit in given if isinstance(limit, int)), None)


def _reply(messages: list[Any], limit: int | None) -> tuple[str, dict[str, Any], str]:
    """Return the text, the usage and why it ended; a word and its space count as one token."""
    asked = _last_text(messages)
    words = [
        word + " "
        for word in (
            "[Sandbox] This is a practice answer from the built-in sandbox; no model was asked. "
            f"You wrote: {asked[:_QUOTED] or '(nothing)'}"
        ).split()
    ]
    cut = limit is not None and limit < len(words)
    words = words[:limit] if cut else words
    spent = max(1, sum(len(_text(one).split()) + 4 for one in messages))
    usage = {
        "prompt_tokens": spent,
        "completion_tokens": len(words),
        "total_tokens": spent + len(words),
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    return "".join(words).rstrip(), usage, "length" if cut else "stop"


def _text(message: Any) -> str:
    content = message.get("content") if isinstance(message, Mapping) else None
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
    return " ".join(text for text in texts if isinstance(text, str))


def _last_text(messages: list[Any]) -> str:
    users = [one for one in messages if isinstance(one, Mapping) and one.get("role") == "user"]
    return " ".join(_text(users[-1]).split()) if users else ""


def _events(base: dict[str, Any], text: str, reason: str, usage: dict[str, Any] | None) -> Iterator[bytes]:
    """Yield the stream's events: a word each, and usage only where it was asked for."""
    shape = {**base, "object": "chat.completion.chunk"}
    rest = {"usage": None} if usage else {}

    def chunk(delta: dict[str, Any], ended: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": ended}
        return _event({**shape, "choices": [choice], **rest})

    yield chunk({"role": "assistant", "content": ""})
    for number, word in enumerate(text.split(" ") if text else []):
        yield chunk({"content": word if number == 0 else f" {word}"})
    yield chunk({}, reason)
    if usage:
        yield _event({**shape, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _event(value: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"
