"""OpenAI's pictures and sounds: what such a call can take at most, and what its answer says that it took."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from digitalme.errors import InvalidRequest
from providers import counts
from providers.counts import Estimate, Usage
from providers.operations import Operation
from providers.readers import Reader
from providers.streams import BYTES_PER_TOKEN, BodyMeter, NoMeter

DIALECTS = ("openai_images", "openai_speech", "openai_transcription")
MAX_IMAGES = 128
MAX_MODEL_LENGTH = 256
# Above what the providers document for the largest and best picture, made or read.
IMAGE_TOKENS = 10_000
# No codec that is taken stores more than a second of speech in so few bytes.
BYTES_PER_SECOND = 750
# A minute of speech is some 900 characters and 1,250 tokens; twice as many for slow voices.
SPOKEN_TOKENS_PER_CHARACTER = 3


def estimate(operation: Operation, body: Mapping[str, Any], body_bytes: int) -> Estimate:
    """Return what this call can take at most; `body` has the members of a JSON body or the fields of a form, as
    forms.values gives them. Raises InvalidRequest on values that no provider takes."""
    model = body.get("model", "")
    if not isinstance(model, str) or len(model) > MAX_MODEL_LENGTH or not model.isprintable():
        raise InvalidRequest("'model' is not the name of a model.", field="model")
    if operation.dialect == "openai_images":
        read = (_bytes(body.get("prompt")), IMAGE_TOKENS * _pictures(body))
        made = IMAGE_TOKENS * _whole(body.get("n"))
        units = _whole(body.get("n"))
        return Estimate(operation.requests, sum(read), made, model, _yes(body.get("stream")), units=units)
    if operation.dialect == "openai_speech":
        said = body.get("input")
        characters = len(said) if isinstance(said, str) else 0
        read = (_bytes(said), _bytes(body.get("instructions")))
        made, stream = SPOKEN_TOKENS_PER_CHARACTER * characters, body.get("stream_format") == "sse"
        return Estimate(operation.requests, sum(read), made, model, stream, characters)
    # A token is heard in a tenth of a second, a word that is written down in a quarter.
    seconds = -(-body_bytes // BYTES_PER_SECOND)
    read = (_bytes(body.get("prompt")), 10 * seconds)
    return Estimate(operation.requests, sum(read), 4 * seconds, model, _yes(body.get("stream")), seconds=seconds)


def _bytes(text: Any) -> int:
    return len(text.encode("utf-8", "replace")) if isinstance(text, str) else 0


def _pictures(body: Mapping[str, Any]) -> int:
    """Return how many pictures a request brings: files, or addresses of them."""
    given = [body.get(name) for name in ("image", "images", "mask")]
    return sum(len(one) if isinstance(one, list) else 1 for one in given if one)


def _whole(value: Any) -> int:
    """Return how many pictures are asked for. Raises InvalidRequest."""
    if value is None:
        return 1
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= MAX_IMAGES:
        raise InvalidRequest(f"'n' must be a whole number from 1 to {MAX_IMAGES}.", field="n")
    return number


def _yes(value: Any) -> bool:
    return value is True or value == "true"


class ImagesReader(Reader):
    """Pictures made or changed: the answer names no model, and older models tell no usage."""

    guessed = False
    ENDS = frozenset({"image_generation.completed", "image_edit.completed"})

    def body(self, value: Mapping[str, Any]) -> None:
        self._error(value.get("error"))
        usage, pictures = value.get("usage"), value.get("data")
        self.units = len(pictures) if isinstance(pictures, list) else self.units
        if isinstance(usage, Mapping):
            self.seen = counts.of_openai(usage, self.model)

    def wants(self, data: bytes) -> bool:
        return b'"usage"' in data or b'"error"' in data

    def makes(self, data: bytes) -> bool:
        return False

    def event(self, value: Mapping[str, Any]) -> bool:
        self.body(value)
        self.finished = self.finished or value.get("type") in self.ENDS
        return False


class SpeechReader(ImagesReader):
    """Speech as events; its last one tells the usage."""

    ENDS = frozenset({"speech.audio.done"})


class TranscriptionReader(ImagesReader):
    """What was said in a recording, billed by tokens or by its seconds."""

    ENDS = frozenset({"transcript.text.done"})

    def body(self, value: Mapping[str, Any]) -> None:
        self._error(value.get("error"))
        usage = value.get("usage")
        if isinstance(usage, Mapping) and usage.get("type") != "duration":
            self.seen = counts.of_openai(usage, self.model)
            return
        told = usage.get("seconds") if isinstance(usage, Mapping) else value.get("duration")
        if (seconds := _seconds(told)) is not None:
            self.seen = Usage(0, 0, model=self.model, seconds=seconds)


def _seconds(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= counts.MAX_COUNT:
        return None
    return Decimal(str(value)).quantize(Decimal("0.001"))


class TextMeter(BodyMeter):
    """Reads an answer that may be plain text or subtitles, which tell no usage."""

    def _read_whole(self, body: bytes) -> None:
        if body.lstrip()[:1] == b"{":
            super()._read_whole(body)


class SpeechMeter(NoMeter):
    """Passes a recording on as it comes: it says nothing of what it took, which follows from the text."""

    def usage(self, estimate: Estimate) -> Usage:
        """Return the characters, and a guess at the tokens for models that are billed by them."""
        spoken = -(-estimate.output_tokens // 2)
        return Usage(
            -(-estimate.input_tokens // BYTES_PER_TOKEN),
            spoken,
            model=estimate.model,
            counted_by="estimated",
            characters=estimate.characters,
        )
