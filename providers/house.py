"""What the house's own key may be asked for: only what the request's body bounds in cost.

A parameter that is not known here is refused, not passed on: a provider's newest one may read stored
files, search the web or choose a dearer tier, and then no estimate made beforehand would hold.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from digitalme.errors import InvalidRequest
from providers.manifest import Operation

_SAMPLING = frozenset({"model", "stream", "temperature", "top_p", "metadata", "tools", "tool_choice"})
_OPENAI = _SAMPLING | {
    "parallel_tool_calls",
    "prompt_cache_key",
    "safety_identifier",
    "stream_options",
    "top_logprobs",
    "user",
}
_PARAMETERS = {
    "openai_chat": _OPENAI
    | {
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "n",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "stop",
        "verbosity",
    },
    "openai_responses": _OPENAI
    | {"include", "input", "instructions", "max_output_tokens", "max_tool_calls", "reasoning", "text", "truncation"},
    "openai_embeddings": frozenset({"dimensions", "encoding_format", "input", "model", "user"}),
    "anthropic_messages": _SAMPLING
    | {
        "cache_control",
        "max_tokens",
        "messages",
        "output_config",
        "output_format",
        "stop_sequences",
        "system",
        "thinking",
        "top_k",
    },
}
# Values that ask for nothing.
_NEUTRAL = {"service_tier": ("auto", "default", "standard_only"), "modalities": (["text"],), "store": (True, False)}
_PART_TYPES = frozenset(
    {
        None,
        "text",
        "refusal",
        "image_url",
        "image",
        "tool_use",
        "tool_result",
        "thinking",
        "redacted_thinking",
        "search_result",
        "message",
        "input_text",
        "output_text",
        "input_image",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "reasoning",
        "reasoning_text",
        "summary_text",
    }
)
_TOOL_TYPES = (None, "function", "custom")
# Models that search or speak: they cost more than their tokens tell.
_DEARER_MODELS = ("search", "audio", "realtime", "deep-research", "computer-use")
_MAX_DEPTH = 12


# What the house's calls may say of themselves: form and version, never another account, a beta or an address.
_HEADERS = frozenset(
    {"accept", "accept-encoding", "accept-language", "content-type", "idempotency-key", "user-agent", "x-request-id"}
)


def headers(given: Mapping[str, str]) -> dict[str, str]:
    """Return those of a caller's headers (names in lower case) that may go out with the house's key."""
    return {
        name: value
        for name, value in given.items()
        if name in _HEADERS or name.startswith("x-stainless-") or name.endswith("-version")
    }


def check(operation: Operation, body: Mapping[str, Any]) -> None:
    """Raise InvalidRequest unless the body alone bounds what this call can cost."""
    allowed = _PARAMETERS.get(operation.dialect)
    if allowed is None:
        return
    for key, value in body.items():
        if key not in allowed and value is not None and value is not False and value not in _NEUTRAL.get(key, ()):
            raise _refusal(f"the parameter '{key[:64]}'", key[:64])
    model = str(body.get("model", "")).lower()
    if any(part in model for part in _DEARER_MODELS):
        raise _refusal(f"the model '{model[:64]}'", "model")
    _check_tools(body.get("tools"))
    for key in ("messages", "input", "system"):
        for part in _parts(body.get(key)):
            _check_part(part, key)


def _refusal(what: str, field: str) -> InvalidRequest:
    return InvalidRequest(
        f"The demo key cannot serve {what}, because its cost cannot be bounded beforehand. "
        "Leave it out or add your own key for this.",
        field=field,
    )


def _check_tools(tools: Any) -> None:
    """The caller's own functions only: a provider's tools search and run at a price of their own."""
    for tool in tools if isinstance(tools, list) else []:
        kind = tool.get("type") if isinstance(tool, Mapping) else None
        if kind not in _TOOL_TYPES:
            raise _refusal(f"tools of the type '{str(kind)[:64]}'", "tools")


def _parts(value: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    if not isinstance(value, list):
        return
    if depth > _MAX_DEPTH:
        raise InvalidRequest("The messages are nested too deeply.", field="messages")
    for one in value:
        if isinstance(one, Mapping):
            yield one
            for inner in one.values():
                yield from _parts(inner, depth + 1)


def _check_part(part: Mapping[str, Any], field: str) -> None:
    """Content within the body only: a stored file, a response or a document elsewhere may be any size."""
    kind = part.get("type")
    if part.get("file_id") is not None or (isinstance(kind, str) and kind not in _PART_TYPES):
        raise _refusal(f"content of the type '{str(kind)[:64]}'", field)
    source = part.get("source")
    if isinstance(source, Mapping) and source.get("type") not in ("base64", "url", "text"):
        raise _refusal("stored files", field)
