"""Gemini's answers, whole, as events and as one long list, and what such a call can take at most."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from digitalme.errors import InvalidRequest
from providers.counts import MAX_COUNT, Estimate, Usage, number
from providers.operations import Operation
from providers.readers import Reader
from providers.streams import MAX_PARSED, EventMeter

DEFAULT_OUTPUT_TOKENS = 1024
MAX_LIMIT = 10_000_000
MAX_CANDIDATES = 16
# Above what a picture takes in high resolution.
IMAGE_TOKENS = 5_000
TOOL_TOKENS = 1_000
_TAIL = 64 * 1024
_STREAMED = ":streamGenerateContent"
_MODEL = re.compile(r"/(?:models|tunedModels)/([A-Za-z0-9._-]{1,200}):[A-Za-z]+\Z")
_USAGE = re.compile(rb'(?<!\\)"usageMetadata"\s*:\s*(?=\{)')


def estimate(operation: Operation, body: Mapping[str, Any], body_bytes: int, path: str) -> Estimate:
    """Return what this call can take at most; the path names the model. Pictures count a flat rate in the place
    of their data. Raises InvalidRequest on values that no provider takes."""
    named = _MODEL.search(path)
    config = body.get("generationConfig", body.get("generation_config"))
    config = config if isinstance(config, Mapping) else {}
    most = _whole(config, ("maxOutputTokens", "max_output_tokens"), MAX_LIMIT, DEFAULT_OUTPUT_TOKENS)
    made = most * _whole(config, ("candidateCount", "candidate_count"), MAX_CANDIDATES, 1)
    spent = body_bytes + sum(IMAGE_TOKENS - length for length in _pictures(body))
    spent += TOOL_TOKENS if body.get("tools") else 0
    return Estimate(operation.requests, max(spent, 0), made, named[1] if named else "", path.endswith(_STREAMED))


def _whole(config: Mapping[str, Any], names: tuple[str, ...], most: int, usual: int) -> int:
    value = next((config[name] for name in names if config.get(name) is not None), usual)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise InvalidRequest(f"'{names[0]}' must be a whole number up to {most}.", field=names[0])
    return value


def _pictures(body: Mapping[str, Any]) -> Iterator[int]:
    """Yield the length of each picture's data in a request."""
    contents = body.get("contents")
    for content in contents if isinstance(contents, list) else [contents]:
        parts = content.get("parts") if isinstance(content, Mapping) else None
        for part in parts if isinstance(parts, list) else [parts]:
            inline = (part.get("inlineData") or part.get("inline_data")) if isinstance(part, Mapping) else None
            if isinstance(inline, Mapping) and str(inline.get("mimeType", inline.get("mime_type"))).startswith(
                "image/"
            ):
                yield len(data) if isinstance(data := inline.get("data"), str) else 0


def counted(usage: Mapping[str, Any], model: str) -> Usage:
    """Read a `usageMetadata` object: thoughts are output beside the candidates, tools' results input beside the
    prompt, which has the cached tokens in it."""
    spent = number(usage, "promptTokenCount") + number(usage, "toolUsePromptTokenCount")
    thought = number(usage, "thoughtsTokenCount")
    cached = min(number(usage, "cachedContentTokenCount"), spent)
    made = number(usage, "candidatesTokenCount") + thought
    heard = _of_kind(usage.get("promptTokensDetails"), "AUDIO")
    return Usage(
        min(spent, MAX_COUNT),
        min(made, MAX_COUNT),
        cached,
        reasoning_tokens=min(thought, made),
        model=model,
        audio_tokens=min(heard, spent - cached),
        audio_made=min(_of_kind(usage.get("candidatesTokensDetails"), "AUDIO"), made),
        image_made=min(_of_kind(usage.get("candidatesTokensDetails"), "IMAGE"), made),
    )


def _of_kind(details: Any, kind: str) -> int:
    found = [one for one in details if isinstance(one, Mapping)] if isinstance(details, list) else []
    return sum(number(one, "tokenCount") for one in found if one.get("modality") == kind)


def _searches(candidates: Any) -> int:
    """Return how many queries of the web the candidates rest on."""
    given = [one for one in candidates if isinstance(one, Mapping)] if isinstance(candidates, list) else []
    found = [one.get("groundingMetadata") for one in given]
    queries = [one.get("webSearchQueries") for one in found if isinstance(one, Mapping)]
    return min(sum(len(one) for one in queries if isinstance(one, list)), MAX_COUNT)


class GeminiReader(Reader):
    """What the model generates. Each piece tells what was taken so far; the last one why it ends."""

    told_in, told_at = "usageMetadata", _USAGE

    def __init__(self) -> None:
        super().__init__()
        self._searches = 0

    def body(self, value: Mapping[str, Any]) -> None:
        if isinstance(value.get("modelVersion"), str):
            self.model = self.model or value["modelVersion"].removeprefix("models/")
        error = value.get("error")
        if isinstance(error, Mapping):
            status = error.get("status")
            self.failed = status[:64] if isinstance(status, str) and status else "error"
        usage = value.get("usageMetadata")
        self._searches = max(self._searches, _searches(value.get("candidates")))
        if isinstance(usage, Mapping):
            self.seen = counted(usage, self.model)
        if self.seen and self._searches:
            # Up to Gemini 2.5 an answer that rests on a search is billed once, from Gemini 3 on by its queries.
            by_query = not self.model.startswith(("gemini-1", "gemini-2"))
            self.seen = replace(self.seen, web_searches=self._searches if by_query else 1)

    def wants(self, data: bytes) -> bool:
        return True

    def makes(self, data: bytes) -> bool:
        return True

    def event(self, value: Mapping[str, Any]) -> bool:
        self.body(value)
        candidates, feedback = value.get("candidates"), value.get("promptFeedback")
        given = [one for one in candidates if isinstance(one, Mapping)] if isinstance(candidates, list) else []
        blocked = isinstance(feedback, Mapping) and feedback.get("blockReason")
        if blocked or any(one.get("finishReason") for one in given):
            self.finished = True
        return False


class StreamMeter(EventMeter):
    """Reads a stream of events or, as it comes without `alt=sse`, one long JSON list."""

    def __init__(self) -> None:
        super().__init__(GeminiReader(), hide_usage=False)
        self._listed: bool | None = None
        self._whole, self._size = b"", 0

    def feed(self, chunk: bytes) -> bytes:
        """Take a piece and pass it on. Of a list above MAX_PARSED only the end is kept."""
        if self._listed is None and (first := chunk.strip()[:1]):
            self._listed = first in (b"[", b"{")
        if not self._listed:
            return super().feed(chunk)
        self._size += len(chunk)
        self._whole += chunk
        if self._size > MAX_PARSED:
            self._whole = self._whole[-_TAIL:]
        return chunk

    def end(self) -> bytes:
        """Read what was kept."""
        if not self._listed:
            return super().end()
        values, whole = self._values()
        for value in values:
            self._made += len(json.dumps(value.get("candidates") or ""))
            self._reader.event(value)
        self.finished, self.failed = whole, self._reader.failed
        self._whole = b""
        return b""

    def _values(self) -> tuple[list[Mapping[str, Any]], bool]:
        """Return the pieces of the list, of one that is cut or too long the last usage alone; and whether its end is
        there."""
        try:
            value = json.loads(self._whole)
        except (ValueError, RecursionError):
            found = None
            for hit in _USAGE.finditer(self._whole[-_TAIL:]):
                found = _object_at(self._whole[-_TAIL:], hit.end()) or found
            ended = self._size > MAX_PARSED and self._whole.rstrip().endswith(b"]")
            return [{"usageMetadata": found}] if found else [], ended
        return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, Mapping)], True


def _object_at(text: bytes, place: int) -> Any:
    try:
        return json.JSONDecoder().raw_decode(text[place:].decode("utf-8", "replace"))[0]
    except (ValueError, RecursionError):
        return None
