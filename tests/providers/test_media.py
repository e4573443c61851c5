"""Pictures and sounds at OpenAI: bounds before, the provider's numbers after, and what they cost."""

import json
from decimal import Decimal
from typing import Any

import pytest

from digitalme.errors import InvalidRequest
from providers import media, metering, payloads, pricing, registry
from providers.metering import Estimate, Meter, Usage

OPENAI = registry.get("openai")
IMAGES, EDITS = "/v1/images/generations", "/v1/images/edits"
SPEECH, TRANSCRIPTIONS = "/v1/audio/speech", "/v1/audio/transcriptions"
IMAGE_USAGE = {
    "input_tokens": 1050,
    "input_tokens_details": {"text_tokens": 50, "image_tokens": 1000},
    "output_tokens": 4000,
    "total_tokens": 5050,
}
FORM = "multipart/form-data; boundary=x"


def form(**fields: str | bytes) -> bytes:
    """A form; bytes are files."""
    lines = [
        f'--x\r\nContent-Disposition: form-data; name="{name}"'.encode()
        + (b'; filename="a"\r\n\r\n' + value if isinstance(value, bytes) else b"\r\n\r\n" + value.encode())
        for name, value in fields.items()
    ]
    return b"\r\n".join([*lines, b"--x--\r\n"])


def estimated(path: str, body: bytes, kind: str = "application/json") -> Estimate:
    operation = OPENAI.match("POST", path)
    assert operation is not None
    return metering.estimate(operation, payloads.read(operation, body, kind, ""), len(body), path)


def read(path: str, answer: bytes, estimate: Estimate) -> tuple[Meter, Usage]:
    operation = OPENAI.match("POST", path)
    assert operation is not None
    meter = metering.meter(operation, stream=estimate.stream, hide_usage=False, status=200)
    assert b"".join(meter.feed(answer[at : at + 7]) for at in range(0, len(answer), 7)) + meter.end() == answer
    return meter, meter.usage(estimate)


def cost(usage: Usage) -> Decimal | None:
    return pricing.price(OPENAI.manifest, usage.model, usage).cost


def ceiling(estimate: Estimate) -> Decimal | None:
    return pricing.ceiling(
        OPENAI.manifest,
        estimate.model,
        estimate.input_tokens,
        estimate.output_tokens,
        characters=estimate.characters,
        seconds=estimate.seconds,
    )


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [IMAGES, EDITS])
def test_pictures_are_billed_by_the_requests_model(path: str, stream: bool) -> None:
    told = json.dumps({"model": "gpt-image-1", "prompt": "a cat", "n": 1, "stream": stream}).encode()
    before = estimated(path, told)
    kind = "image_generation.completed" if path == IMAGES else "image_edit.completed"
    whole = json.dumps({"created": 1, "data": [{"b64_json": "QUJD"}], "usage": IMAGE_USAGE}).encode()
    events = event({"type": "image_generation.partial_image", "b64_json": "A" * 99}) + event(
        {"type": kind, "b64_json": "QUJD", "usage": IMAGE_USAGE}
    )
    meter, usage = read(path, events if stream else whole, before)
    assert (meter.failed, meter.finished) == ("", True)
    assert (usage.input_tokens, usage.output_tokens, usage.image_tokens) == (1050, 4000, 1000)
    # 50 tokens of text at 5, 1,000 of pictures at 10, 4,000 made at 40 dollars a million.
    assert (usage.model, cost(usage)) == ("gpt-image-1", Decimal("0.17025"))
    most = ceiling(before)
    assert most is not None
    assert most > Decimal("0.1")


def test_a_form_with_pictures_is_read() -> None:
    body = form(image=b"\x89PNG\r\n--", model="gpt-image-1.5", prompt="no hat", n="2", mask=b"m")
    before = estimated(EDITS, body, FORM)
    assert before == Estimate(
        1, len("no hat") + 2 * media.IMAGE_TOKENS, 2 * media.IMAGE_TOKENS, "gpt-image-1.5", False, units=2
    )


def test_older_models_tell_nothing_and_stay_unpriced() -> None:
    before = estimated(IMAGES, b'{"model": "dall-e-3", "prompt": "a cat"}')
    meter, usage = read(IMAGES, b'{"created": 1, "data": [{"url": "https://a.example/x.png"}]}', before)
    assert (meter.failed, usage.total, usage.units, cost(usage)) == ("", 0, 1, None)


@pytest.mark.parametrize(
    ("model", "expected"),
    # By a million characters; by tokens, guessed from the text.
    [("tts-1", Decimal("0.015")), ("tts-1-hd", Decimal("0.03")), ("gpt-4o-mini-tts", Decimal("0.0182004"))],
)
def test_speech_is_billed_by_its_text(model: str, expected: Decimal) -> None:
    before = estimated(SPEECH, json.dumps({"model": model, "voice": "alloy", "input": "a" * 1000}).encode())
    _, usage = read(SPEECH, bytes(range(256)) * 20, before)
    assert (usage.counted_by, usage.characters, cost(usage)) == ("estimated", 1000, expected)
    most = ceiling(before)
    assert most is not None
    assert most >= expected


def test_speech_as_events_tells_its_tokens() -> None:
    before = estimated(SPEECH, b'{"model": "gpt-4o-mini-tts", "input": "hi", "stream_format": "sse"}')
    told = {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}
    events = event({"type": "speech.audio.delta", "audio": "QUJD"}) + event(
        {"type": "speech.audio.done", "usage": told}
    )
    meter, usage = read(SPEECH, events, before)
    assert (usage.input_tokens, usage.output_tokens, usage.counted_by) == (14, 101, "provider")
    assert (meter.finished, cost(usage)) == (True, Decimal("0.0012204"))


TOKENS = {"type": "tokens", "input_tokens": 1014, "output_tokens": 45, "total_tokens": 1059}


@pytest.mark.parametrize(
    ("model", "answer", "expected"),
    [
        ("whisper-1", {"text": "hi", "usage": {"type": "duration", "seconds": 60}}, Decimal("0.006")),
        ("whisper-1", {"task": "transcribe", "duration": 30.5, "text": "hi"}, Decimal("0.00305")),
        (
            "gpt-4o-transcribe",
            {"text": "hi", "usage": {**TOKENS, "input_token_details": {"text_tokens": 14, "audio_tokens": 1000}}},
            Decimal("0.006485"),
        ),
        ("whisper-1", "1\n00:00:00,000 --> 00:00:02,000\nhi\n", None),
    ],
)
def test_a_transcription_is_billed_by_seconds_or_tokens(model: str, answer: Any, expected: Decimal | None) -> None:
    before = estimated(TRANSCRIPTIONS, form(file=b"\0" * 100_000, model=model), FORM)
    body = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
    meter, usage = read(TRANSCRIPTIONS, body, before)
    assert (meter.failed, usage.model, cost(usage)) == ("", model, expected)
    most = ceiling(before)
    assert most is not None
    assert most >= (expected or 0) or expected == Decimal("0.006"), "a minute does not fit into so few bytes"


def test_a_streamed_transcription_tells_its_usage_at_the_end() -> None:
    before = estimated(TRANSCRIPTIONS, form(model="gpt-4o-transcribe", stream="true", file=b"x"), FORM)
    assert before.stream
    done = event({"type": "transcript.text.done", "text": "hi", "usage": TOKENS})
    meter, usage = read(TRANSCRIPTIONS, event({"type": "transcript.text.delta", "delta": "hi"}) + done, before)
    assert (meter.finished, usage.total) == (True, 1059)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "m", "n": 0}',
        b'{"model": "m", "n": "9999"}',
        b'{"model": "m", "n": true}',
        b'{"model": 3}',
        b'{"model": "a\\nb"}',
        b"[]",
        b"not json",
    ],
)
def test_what_no_provider_takes_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        estimated(IMAGES, body)


def test_a_form_without_an_end_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="last boundary"):
        estimated(TRANSCRIPTIONS, form(model="whisper-1")[:-6], FORM)


@pytest.mark.parametrize("path", [IMAGES, EDITS, SPEECH, TRANSCRIPTIONS])
def test_the_house_does_not_pay_for_them(path: str) -> None:
    operation = OPENAI.match("POST", path)
    assert operation is not None
    assert not operation.system
