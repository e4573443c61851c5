"""How calls are measured: bounds before (bounds), the provider's own numbers after (streams)."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from providers import gemini, jsonrpc, later, media
from providers.answers import AnswerMeter
from providers.bounds import DEFAULT_OUTPUT_TOKENS, estimate, prepare
from providers.counts import Bill, Estimate, Usage
from providers.operations import Dialect, Operation
from providers.readers import AnthropicReader, OpenAIReader, Reader, ResponsesReader
from providers.rules import Failure
from providers.streams import BodyMeter, EventMeter, NoMeter

__all__ = [
    "DEFAULT_OUTPUT_TOKENS",
    "AnswerMeter",
    "Estimate",
    "Meter",
    "NoMeter",
    "Usage",
    "estimate",
    "meter",
    "passes",
    "prepare",
    "told",
]
_READERS: dict[Dialect, type[Reader]] = {
    "openai_chat": OpenAIReader,
    "openai_embeddings": OpenAIReader,
    "openai_responses": ResponsesReader,
    "openai_images": media.ImagesReader,
    "openai_speech": media.SpeechReader,
    "openai_transcription": media.TranscriptionReader,
    "anthropic_messages": AnthropicReader,
    "gemini": gemini.GeminiReader,
}


class Meter(Protocol):
    """Reads a copy of an answer as it passes.

    `failed` is the error's type if the answer tells of a failure although its status does not, else
    empty; `garbled` tells that it is then nothing that the provider documents; `finished` that the answer's
    own end was seen; `reference` is what the provider calls this call, if a later answer tells what it took.
    """

    reference: str
    failed: str
    garbled: bool
    finished: bool

    def feed(self, chunk: bytes) -> bytes:
        """Take a piece as it arrived and return what is to be passed on, at once."""

    def end(self) -> bytes:
        """State that nothing more comes; return what was held back."""

    def usage(self, estimate: Estimate) -> Usage:
        """Return what was taken. If the provider did not say, it is counted from what was delivered."""

    def bill(self, estimate: Estimate) -> Bill | None:
        """Return what an earlier call took, if this answer tells."""


def told(operation: Operation, body: Mapping[str, Any]) -> Operation:
    """Return the operation that a request is, where its body tells more than its path."""
    if operation.dialect == "captcha":
        return later.asked(operation, body)
    return jsonrpc.named(operation, body) if operation.dialect == "jsonrpc" else operation


def meter(
    operation: Operation, *, stream: bool, hide_usage: bool, status: int, failures: Sequence[Failure] = ()
) -> Meter:
    """Return the meter for an answer to this operation.

    `hide_usage`: the caller did not ask for usage, so the event that carries nothing else is left out.
    `failures` are the provider's ways to tell of a failure with a good status.
    """
    if status >= 400:
        return NoMeter()
    if operation.dialect in later.METERS:
        return later.METERS[operation.dialect](operation, status, failures)
    if operation.dialect == "jsonrpc":
        return jsonrpc.AnswerMeter()
    kind = _READERS.get(operation.dialect)
    if kind is None:
        if failures or operation.usage or operation.unit_price is not None:
            return AnswerMeter(operation, status, failures)
        return NoMeter()
    if stream:
        return gemini.StreamMeter() if operation.dialect == "gemini" else EventMeter(kind(), hide_usage=hide_usage)
    if operation.dialect == "openai_speech":
        return media.SpeechMeter()
    return (media.TextMeter if operation.dialect == "openai_transcription" else BodyMeter)(kind())


def passes(meter: Meter) -> bool:
    """Whether an answer that is no stream of events may pass piece by piece all the same."""
    return isinstance(meter, gemini.StreamMeter) or (isinstance(meter, later.AnthropicMeter) and meter.results)
