"""What a call can take at most, and the changes to its body that make that hold."""

from collections.abc import Iterator, Mapping
from typing import Any

from digitalme.errors import InvalidRequest
from providers import gemini, house, jsonrpc, later, media
from providers.counts import Estimate
from providers.manifest import Operation

DEFAULT_OUTPUT_TOKENS = 1024
MAX_LIMIT = 10_000_000
MAX_CHOICES = 128
MAX_MODEL_LENGTH = 256
# A tool definition brings instructions of the provider's own, which are counted as input.
TOOL_TOKENS = 1_000
# The dearest image that the providers document: high detail on a small OpenAI model; about 4,800
# tokens at Anthropic.
IMAGE_TOKENS = {"openai_chat": 50_000, "openai_responses": 50_000, "anthropic_messages": 8_000}
OUTPUT_LIMITS = {
    "openai_chat": ("max_completion_tokens", "max_tokens"),
    "openai_responses": ("max_output_tokens",),
    "anthropic_messages": ("max_tokens",),
    "openai_embeddings": (),
}
_IMAGES = ("image_url", "input_image", "image")


def estimate(operation: Operation, body: Mapping[str, Any] | None, body_bytes: int, path: str = "") -> Estimate:
    """Return what this call can take at most; `path` is the operation's.

    A token is at least one byte, so the body's length bounds the text in it; images count a flat
    rate each in the place of their data. Output is bounded by the limit in the body, for each of the
    choices asked for; without one by DEFAULT_OUTPUT_TOKENS. Raises InvalidRequest on values that no
    provider takes.
    """
    if operation.dialect in ("none", "openai_later"):
        return Estimate(operation.requests, 0, 0, "", False)
    if operation.dialect == "anthropic_later":
        return Estimate(operation.requests, 0, 0, "", False, reference=later.batch_of(path))
    if not isinstance(body, Mapping):
        raise InvalidRequest("The request's body must be a JSON object.")
    if operation.dialect == "jsonrpc":
        return jsonrpc.estimate(operation, body)
    if operation.dialect == "captcha":
        return later.estimate(operation, body)
    if operation.dialect in media.DIALECTS:
        return media.estimate(operation, body, body_bytes)
    if operation.dialect == "gemini":
        return gemini.estimate(operation, body, body_bytes, path)
    if operation.dialect == "json":
        named = body.get("model")
        model = named[:MAX_MODEL_LENGTH] if isinstance(named, str) and named.isprintable() else ""
        return Estimate(operation.requests, body_bytes, _output(operation, body), model, False)
    model = _model(body)
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise InvalidRequest("'stream' must be true or false.", field="stream")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, Mapping):
        raise InvalidRequest("'stream_options' must be an object.", field="stream_options")
    if operation.dialect == "openai_embeddings":
        return Estimate(operation.requests, body_bytes, 0, model, False)
    spent = body_bytes + _images(operation.dialect, body)
    if body.get("tools"):
        spent += TOOL_TOKENS
    return Estimate(operation.requests, max(spent, 0), _output(operation, body), model, bool(stream))


def _model(body: Mapping[str, Any]) -> str:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("'model' is missing: name the model to call.", field="model")
    if len(model) > MAX_MODEL_LENGTH or not model.isprintable():
        raise InvalidRequest("'model' is not the name of a model.", field="model")
    return model


def _whole(body: Mapping[str, Any], key: str, least: int, most: int) -> int | None:
    """Return a whole number out of the body, None if it is absent. Raises InvalidRequest."""
    value = body.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidRequest(f"'{key}' must be a whole number from {least} to {most}.", field=key)
    return value


def _limits(operation: Operation) -> tuple[str, ...]:
    """Return the members that limit the output, the one to set first."""
    usual = OUTPUT_LIMITS.get(operation.dialect, ())
    named = (operation.output_limit,) if operation.output_limit else ()
    return named + tuple(name for name in usual if name not in named)


def _output(operation: Operation, body: Mapping[str, Any]) -> int:
    dialect = operation.dialect
    limits = [_whole(body, key, 0, MAX_LIMIT) for key in _limits(operation)]
    given = [limit for limit in limits if limit is not None]
    most = max(given) if given else DEFAULT_OUTPUT_TOKENS
    if dialect == "anthropic_messages":
        thinking = body.get("thinking")
        if isinstance(thinking, Mapping):
            most = max(most, _whole(thinking, "budget_tokens", 0, MAX_LIMIT) or 0)
        return most
    choices = _whole(body, "n", 1, MAX_CHOICES) if dialect == "openai_chat" else None
    return most * (choices or 1)


def _images(dialect: str, body: Mapping[str, Any]) -> int:
    """Return what the images in a body add to its length: a flat rate each, less their data."""
    total = 0
    for part in _parts(body.get("messages")) if "messages" in body else _parts(body.get("input")):
        if part.get("type") in _IMAGES:
            total += IMAGE_TOKENS[dialect] - _data_length(part)
    return total


def _parts(value: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Yield the parts that messages are made of, however deep: tool results hold parts too."""
    if depth > 12 or not isinstance(value, list):
        return
    for one in value:
        if isinstance(one, Mapping):
            yield one
            for key in ("content", "output"):
                if isinstance(one.get(key), list):
                    yield from _parts(one[key], depth + 1)


def _data_length(part: Mapping[str, Any]) -> int:
    """Return the length of the base64 data within an image part; a plain address is not data."""
    source = part.get("source")
    if isinstance(source, Mapping):
        data = source.get("data")
        return len(data) if isinstance(data, str) and source.get("type") == "base64" else 0
    image = part.get("image_url")
    address = image.get("url") if isinstance(image, Mapping) else image
    return len(address) if isinstance(address, str) and address.startswith("data:image/") else 0


def prepare(operation: Operation, body: Mapping[str, Any], *, cap_output: bool) -> tuple[dict[str, Any], bool]:
    """Return the body to send and whether the event with nothing but usage is to be hidden.

    A chat stream is asked to tell its usage. If the house pays (`cap_output`), a missing output limit
    is set, and InvalidRequest raised for what the body does not bound. The given body is never
    changed; it is returned itself if nothing is to be changed and the house does not pay: what the
    house pays for goes out as it was read, since a key that stands twice in JSON may be read either way.
    """
    if cap_output:
        house.check(operation, body)
    changes: dict[str, Any] = {}
    if operation.dialect == "openai_chat" and operation.ask_usage and body.get("stream"):
        options = body.get("stream_options") or {}
        if options.get("include_usage") is not True:
            changes["stream_options"] = {**options, "include_usage": True}
    if cap_output:
        names = _limits(operation)
        if names and all(body.get(name) is None for name in names):
            changes[names[0]] = DEFAULT_OUTPUT_TOKENS
    given = body if isinstance(body, dict) else dict(body)
    return ({**given, **changes} if changes or cap_output else given), "stream_options" in changes
