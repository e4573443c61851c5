"""Gemini's usage, out of whole answers, events and lists, cut anywhere."""

import itertools
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitalme.errors import InvalidRequest
from providers import metering, pricing, registry
from providers.metering import Estimate, Meter, Usage

GOOGLE = registry.get("google")
MODEL = "/generativelanguage/v1beta/models/gemini-2.5-flash"
PLAIN, STREAMED = f"{MODEL}:generateContent", f"{MODEL}:streamGenerateContent"
TAKEN = {
    "promptTokenCount": 100,
    "candidatesTokenCount": 50,
    "thoughtsTokenCount": 10,
    "cachedContentTokenCount": 40,
    "totalTokenCount": 160,
}
EXPECTED = Usage(100, 60, 40, reasoning_tokens=10, model="gemini-2.5-flash")
ASKED = {"contents": [{"parts": [{"text": "hi"}]}]}


def piece(text: str, usage: Any, **more: Any) -> dict[str, Any]:
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, **more}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash"}


# A text that looks like usage is none.
PIECES = [
    piece('"usageMetadata": {"promptTokenCount": 9}', {"promptTokenCount": 100}),
    piece("b, [c", {"promptTokenCount": 100, "candidatesTokenCount": 20}),
    piece("d", TAKEN, finishReason="STOP"),
]
EVENTS = b"".join(b"data: " + json.dumps(one).encode() + b"\r\n\r\n" for one in PIECES)
LISTED = json.dumps(PIECES, indent=2).encode()


def meter(path: str) -> tuple[Meter, Estimate]:
    operation = GOOGLE.match("POST", path)
    assert operation is not None
    assert operation.dialect == "gemini"
    assert not operation.system
    before = metering.estimate(operation, ASKED, 100, path)
    return metering.meter(operation, stream=before.stream, hide_usage=False, status=200), before


def run(path: str, body: bytes, cuts: list[int]) -> tuple[Meter, Usage]:
    one, before = meter(path)
    at = [0, *sorted({cut % (len(body) + 1) for cut in cuts}), len(body)]
    passed = b"".join(one.feed(body[start:end]) for start, end in itertools.pairwise(at)) + one.end()
    assert passed == body
    return one, one.usage(before)


@pytest.mark.parametrize(
    ("path", "body"), [(PLAIN, json.dumps(PIECES[-1]).encode()), (STREAMED, EVENTS), (STREAMED, LISTED)]
)
@given(cuts=st.lists(st.integers(0, 3000), max_size=6))
def test_usage_is_the_last_that_is_told(path: str, body: bytes, cuts: list[int]) -> None:
    one, usage = run(path, body, cuts)
    assert usage == EXPECTED
    assert (one.failed, one.finished) == ("", True)


def test_thoughts_are_output_and_the_cache_is_cheaper() -> None:
    # 60 tokens at 0.30, 40 cached ones at 0.03, 60 made at 2.50 dollars a million.
    assert pricing.price(GOOGLE.manifest, EXPECTED.model, EXPECTED).cost == Decimal("0.0001692")


def test_sound_and_pictures_have_prices_of_their_own() -> None:
    heard = {"promptTokenCount": 1000, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 900}]}
    _, usage = run(PLAIN, json.dumps(piece("x", heard)).encode(), [])
    assert pricing.price(GOOGLE.manifest, usage.model, usage).cost == Decimal("0.00093")
    drawn = {"candidatesTokenCount": 1290, "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}]}
    answer = {**piece("x", drawn), "modelVersion": "gemini-2.5-flash-image"}
    _, usage = run(PLAIN, json.dumps(answer).encode(), [])
    assert pricing.price(GOOGLE.manifest, usage.model, usage).cost == Decimal("0.0387")


@pytest.mark.parametrize("body", [EVENTS, LISTED])
def test_a_stream_that_is_cut_is_not_finished(body: bytes) -> None:
    one, usage = run(STREAMED, body[: body.rindex(b"finishReason")], [30])
    assert not one.finished
    assert usage.input_tokens == 100
    assert usage.output_tokens >= 20


def test_a_list_of_many_megabytes_is_not_kept() -> None:
    long = json.dumps([piece("x" * 3_000_000, {"promptTokenCount": 1}) for _ in range(3)] + PIECES).encode()
    assert run(STREAMED, long, list(range(0, len(long), 1_000_000)))[1].input_tokens == 100


def test_a_picture_of_many_megabytes_tells_its_usage_at_the_end() -> None:
    assert run(PLAIN, json.dumps(piece("A" * 9_000_000, TAKEN)).encode(), [])[1].output_tokens == 60


@pytest.mark.parametrize(("model", "searches"), [("gemini-2.5-flash", 1), ("gemini-3-pro-preview", 2)])
def test_an_answer_that_rests_on_a_search_is_billed_for_it(model: str, searches: int) -> None:
    found = {"webSearchQueries": ["one", "two"], "groundingChunks": []}
    pieces = [
        {**piece("a", {"promptTokenCount": 9}, groundingMetadata=found), "modelVersion": model},
        {**piece("b", TAKEN, finishReason="STOP"), "modelVersion": model},
    ]
    for path, body in (
        (STREAMED, json.dumps(pieces).encode()),
        (PLAIN, json.dumps({**pieces[1], **pieces[0]}).encode()),
    ):
        assert run(path, body, [])[1].web_searches == searches


@pytest.mark.parametrize("listed", [False, True])
def test_an_error_in_a_stream_is_a_failure(listed: bool) -> None:
    told = {"error": {"code": 503, "status": "UNAVAILABLE", "message": "overloaded"}}
    body = json.dumps([PIECES[0], told]).encode() if listed else EVENTS + f"data: {json.dumps(told)}\n\n".encode()
    assert run(STREAMED, body, [])[0].failed == "UNAVAILABLE"


def test_an_empty_list_has_an_end() -> None:
    one, usage = run(STREAMED, b"[]\n", [])
    assert (one.finished, one.failed, usage.counted_by) == (True, "", "estimated")


def test_a_blocked_prompt_is_an_answer() -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 7}}
    one, usage = run(STREAMED, b"data: " + json.dumps(blocked).encode() + b"\n\n", [])
    assert (one.finished, usage.total, usage.model) == (True, 7, "gemini-2.5-flash")


@pytest.mark.parametrize(
    "path",
    [
        "/generativelanguage/v1/models/gemini-2.5-pro:generateContent",
        "/generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro:streamGenerateContent",
        "/generativelanguage/v1beta/tunedModels/mine:generateContent",
    ],
)
def test_every_address_of_it_is_metered(path: str) -> None:
    _, before = meter(path)
    assert before.model in path
    assert before.stream == path.endswith("streamGenerateContent")


def test_bounds_come_from_the_request() -> None:
    operation = GOOGLE.match("POST", PLAIN)
    assert operation is not None
    picture = {"inlineData": {"mimeType": "image/png", "data": "A" * 50_000}}
    config = {"maxOutputTokens": 300, "candidateCount": 2}
    body = {"contents": [{"parts": [picture, {"text": "what is it?"}]}], "generationConfig": config}
    before = metering.estimate(operation, body, 51_000, PLAIN)
    assert (before.input_tokens, before.output_tokens, before.model) == (6_000, 600, "gemini-2.5-flash")
    assert metering.estimate(operation, ASKED, 50, PLAIN).output_tokens == metering.DEFAULT_OUTPUT_TOKENS
    with pytest.raises(InvalidRequest):
        metering.estimate(operation, {"generationConfig": {"maxOutputTokens": "many"}}, 50, PLAIN)
