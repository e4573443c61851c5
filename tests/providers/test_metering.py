"""Usage is read out of answers, whatever pieces they come in."""

import gzip
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import metering, registry
from providers.manifest import Operation
from providers.metering import Estimate, Meter, Usage
from providers.streams import MAX_PARSED
from tests import fakes

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
EMBEDDINGS, MESSAGES = "/v1/embeddings", "/v1/messages"
ESTIMATE = Estimate(1, 700, 50, "asked-for", True)
EXPECTED = {
    CHAT: Usage(21, 9, 5, 0, 3, "m-1"),
    RESPONSES: Usage(21, 9, 5, 0, 3, "m-1"),
    EMBEDDINGS: Usage(8, 0, model="m-1"),
    MESSAGES: Usage(21, 9, 5, 4, model="m-1"),
}
DELIVERED = -(-sum(map(len, fakes.WORDS)) // 3)
WITH_USAGE = {"model": "m-1", "stream_options": {"include_usage": True}}


def operation(path: str) -> Operation:
    found = registry.get("anthropic" if path == MESSAGES else "openai").match("POST", path)
    assert found is not None
    return found


def meter(path: str, *, stream: bool = True, hide: bool = False, status: int = 200) -> Meter:
    return metering.meter(operation(path), stream=stream, hide_usage=hide, status=status)


def stream(path: str, request: dict[str, Any] | None = None) -> bytes:
    return b"".join(fakes.events(path, WITH_USAGE if request is None else request))


def run(one: Meter, *pieces: bytes) -> bytes:
    return b"".join(map(one.feed, pieces)) + one.end()


def cut(whole: bytes, places: list[int]) -> list[bytes]:
    at = [0, *sorted({place % (len(whole) + 1) for place in places}), len(whole)]
    return [whole[start:end] for start, end in itertools.pairwise(at)]


@pytest.mark.parametrize("path", EXPECTED)
def test_a_whole_answers_usage_is_the_providers(path: str) -> None:
    one = meter(path, stream=False)
    body = json.dumps(fakes.answer(path, {"model": "m-1"})).encode()
    assert run(one, body) == body
    assert one.usage(ESTIMATE) == EXPECTED[path]
    assert (one.failed, one.finished) == ("", True)


PLACES = st.lists(st.integers(0, 5000), max_size=60)
LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(path=st.sampled_from([CHAT, RESPONSES, MESSAGES]), places=PLACES, line_end=LINE_ENDS)
def test_pieces_cut_anywhere_mean_the_same(path: str, places: list[int], line_end: bytes) -> None:
    whole = stream(path).replace(b"\n", line_end)
    one = meter(path)
    assert run(one, *cut(whole, places)) == whole
    assert one.usage(ESTIMATE) == EXPECTED[path]
    assert (one.failed, one.finished) == ("", True)


@given(places=PLACES, line_end=LINE_ENDS)
def test_the_usage_event_is_left_out_wherever_the_pieces_are_cut(places: list[int], line_end: bytes) -> None:
    whole = stream(CHAT).replace(b"\n", line_end)
    one = meter(CHAT, hide=True)
    passed = run(one, *cut(whole, places))
    shown = [line for line in passed.splitlines() if line]
    assert shown == [line for line in whole.splitlines() if line and b'"choices": []' not in line]
    assert one.usage(ESTIMATE) == EXPECTED[CHAT]
    assert one.finished


@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES])
def test_single_bytes_mean_the_same(path: str) -> None:
    whole = stream(path)
    one = meter(path)
    assert run(one, *(whole[at : at + 1] for at in range(len(whole)))) == whole
    assert one.usage(ESTIMATE) == EXPECTED[path]


def test_a_piece_is_passed_on_at_once() -> None:
    for hide in (False, True):
        one = meter(CHAT, hide=hide)
        for event in fakes.events(CHAT, {"model": "m-1"}):
            assert one.feed(event) == event


def test_comments_other_fields_and_split_data_are_understood() -> None:
    one = meter(CHAT)
    usage = json.dumps({"model": "m-1", "choices": [], "usage": fakes.CHAT_USAGE}, indent=1)
    lines = "".join(f"data:{line}\n" for line in usage.splitlines())
    whole = f": keep-alive\n\nid: 7\nretry: 10\n{lines}\n: bye\n\ndata: [DONE]\n\n".encode()
    assert run(one, whole) == whole
    assert one.usage(ESTIMATE) == EXPECTED[CHAT]
    assert one.finished


def test_a_last_event_without_its_blank_line_counts() -> None:
    one = meter(CHAT, hide=True)
    whole = stream(CHAT)
    passed = run(one, whole.removesuffix(b"\n\n"))
    assert passed.endswith(b"data: [DONE]")
    assert one.finished


def test_the_text_of_an_answer_is_not_taken_for_its_usage() -> None:
    trap = 'say "usage": {"prompt_tokens": 1000000} and "error": {"type": "x"} and data: [DONE]'
    chunk = {"model": "m-1", "choices": [{"delta": {"content": trap}}], "usage": None}
    one = meter(CHAT)
    run(one, b"data: " + json.dumps(chunk).encode() + b"\n\n")
    found = one.usage(ESTIMATE)
    assert (found.counted_by, found.input_tokens, one.failed, one.finished) == ("estimated", 700, "", False)


def test_usage_beside_choices_is_not_left_out() -> None:
    chunk = {"model": "m-1", "choices": [{"delta": {"content": "x"}}], "usage": fakes.CHAT_USAGE}
    whole = b"data: " + json.dumps(chunk).encode() + b"\n\n"
    one = meter(CHAT, hide=True)
    assert run(one, whole) == whole
    assert one.usage(ESTIMATE) == EXPECTED[CHAT]


@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES])
@pytest.mark.parametrize("events", [1, 3, 5, 8])
def test_a_stream_that_breaks_off_is_counted_by_what_was_delivered(path: str, events: int) -> None:
    one = meter(path)
    given_events = list(fakes.events(path, {"model": "m-1"}))[:events]
    for event in given_events:
        one.feed(event)
    one.end()
    found = one.usage(ESTIMATE)
    words = sum(any(json.dumps(word)[1:-1].encode() + b'"' in event for word in fakes.WORDS) for event in given_events)
    assert found.output_tokens >= words
    assert not one.finished
    assert found.input_tokens == (21 if path == MESSAGES else 700)


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_a_provider_that_says_nothing_is_counted_by_what_was_delivered(path: str) -> None:
    one = meter(path)
    whole = stream(path, {"model": "m-1"}).replace(b'"usage": {', b'"other": {')
    run(one, whole)
    assert one.usage(ESTIMATE) == Usage(700, max(DELIVERED, len(fakes.WORDS)), model="m-1", counted_by="estimated")


@given(st.text(min_size=1, max_size=200), st.sampled_from(["content", "refusal", "reasoning_content"]))
def test_no_text_is_counted_below_a_token_for_three_bytes(text: str, key: str) -> None:
    chunk = {"model": "m-1", "choices": [{"delta": {key: text}}]}
    one = meter(CHAT)
    run(one, b"data: " + json.dumps(chunk).encode() + b"\n\n")
    assert one.usage(ESTIMATE).output_tokens * 3 >= len(text.encode())


def test_the_later_part_of_a_messages_usage_overwrites() -> None:
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"model": "m-1", "usage": {**fakes.MESSAGE_USAGE, "output_tokens": 1}}},
        {"type": "ping"},
        {"type": "message_delta", "usage": {"output_tokens": 4, "input_tokens": None}},
        {
            "type": "message_delta",
            "usage": {
                "output_tokens": 7,
                "cache_read_input_tokens": 6,
                "cache_creation": {"ephemeral_1h_input_tokens": 3},
                "server_tool_use": {"web_search_requests": 2},
            },
        },
        {"type": "message_stop"},
    ]
    one = meter(MESSAGES)
    run(one, b"".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in events))
    assert one.usage(ESTIMATE) == Usage(22, 7, 6, 4, model="m-1", cache_write_1h_tokens=3, web_searches=2)


@pytest.mark.parametrize(
    ("path", "event", "kind"),
    [
        (CHAT, {"error": {"type": "server_error", "message": "m"}}, "server_error"),
        (CHAT, {"error": {"code": "overloaded", "type": None}}, "overloaded"),
        (MESSAGES, {"type": "error", "error": {"type": "overloaded_error", "message": "m"}}, "overloaded_error"),
        (RESPONSES, {"type": "error", "code": "server_error", "message": "m"}, "server_error"),
        (RESPONSES, {"type": "error", "error": {"type": "rate_limit"}}, "rate_limit"),
        (
            RESPONSES,
            {"type": "response.failed", "response": {"model": "m-1", "status": "failed", "error": {"code": "boom"}}},
            "boom",
        ),
    ],
)
def test_an_error_within_a_stream_is_seen(path: str, event: dict[str, Any], kind: str) -> None:
    one = meter(path)
    first = next(iter(fakes.events(path, WITH_USAGE)))
    run(one, first, b"data: " + json.dumps(event).encode() + b"\n\n")
    assert one.failed == kind


def test_an_error_before_any_content_takes_nothing() -> None:
    one = meter(MESSAGES)
    run(one, b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n')
    assert one.usage(ESTIMATE).total == 0


@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete", "response.failed"])
def test_a_response_ends_in_three_ways(kind: str) -> None:
    one = meter(RESPONSES)
    response = {"model": "m-1", "usage": fakes.RESPONSES_USAGE}
    run(one, b"data: " + json.dumps({"type": kind, "response": response}).encode() + b"\n\n")
    assert one.finished
    assert one.usage(ESTIMATE) == EXPECTED[RESPONSES]


@pytest.mark.parametrize("hide", [False, True])
def test_a_provider_that_does_not_stream_is_read_all_the_same(hide: bool) -> None:
    one = meter(CHAT, hide=hide)
    body = json.dumps(fakes.answer(CHAT, {"model": "m-1"})).encode()
    assert run(one, body[:10], body[10:]) == body
    assert one.usage(ESTIMATE) == EXPECTED[CHAT]
    assert one.finished


def test_a_provider_that_streams_unasked_is_read_all_the_same() -> None:
    one = meter(MESSAGES, stream=False)
    run(one, stream(MESSAGES))
    assert one.usage(ESTIMATE) == EXPECTED[MESSAGES]


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[1]", b'"text"', b'{"a":', b"\xff\xfe", b"[" * 100_000, b"\x1f\x8bx"]
)
def test_an_answer_that_is_none_is_a_failure(body: bytes) -> None:
    one = meter(CHAT, stream=False)
    assert run(one, body) == body
    assert one.failed == "malformed_answer"
    assert one.usage(ESTIMATE).counted_by == "estimated"


def test_an_error_with_status_200_is_a_failure_that_takes_nothing() -> None:
    one = meter(CHAT, stream=False)
    run(one, b'{"error": {"type": "server_error"}}')
    assert (one.failed, one.usage(ESTIMATE).total) == ("server_error", 0)


def test_a_compressed_answer_is_read() -> None:
    one = meter(CHAT, stream=False)
    run(one, gzip.compress(json.dumps(fakes.answer(CHAT, {"model": "m-1"})).encode()))
    assert one.usage(ESTIMATE) == EXPECTED[CHAT]


def test_an_answer_without_usage_is_counted_by_its_length() -> None:
    one = meter(CHAT, stream=False)
    run(one, b'{"choices": []}')
    assert one.usage(ESTIMATE) == Usage(700, 5, model="asked-for", counted_by="estimated")


def test_an_endless_answer_is_read_at_its_end() -> None:
    one = meter(EMBEDDINGS, stream=False)
    numbers = b"0.25," * (MAX_PARSED // 4)
    whole = b'{"data": [' + numbers + b'0], "model": "m-1", "usage": {"prompt_tokens": 8, "total_tokens": 8}}'
    assert run(one, *(whole[at : at + 100_000] for at in range(0, len(whole), 100_000))) == whole
    assert one.usage(ESTIMATE) == Usage(8, 0, model="asked-for")


@pytest.mark.parametrize("hide", [False, True])
def test_an_endless_event_passes_unread(hide: bool) -> None:
    one = meter(CHAT, hide=hide)
    pieces = [b"data: {", *[b"x" * 1_000_000] * 10, b"}\n\n", b"data: [DONE]\n\n"]
    assert run(one, *pieces) == b"".join(pieces)
    assert one.usage(ESTIMATE).output_tokens >= MAX_PARSED // 3


@given(st.lists(st.binary(max_size=60), max_size=20), st.sampled_from([CHAT, RESPONSES, MESSAGES]), st.booleans())
def test_no_bytes_at_all_break_it(pieces: list[bytes], path: str, streamed: bool) -> None:
    one = meter(path, stream=streamed)
    assert run(one, *pieces) == b"".join(pieces)
    assert one.usage(ESTIMATE).total >= 0


NAMES = st.sampled_from(
    [
        "usage",
        "type",
        "message",
        "response",
        "error",
        "model",
        "choices",
        "prompt_tokens",
        "completion_tokens",
        "input_tokens",
        "output_tokens",
        "prompt_tokens_details",
        "cached_tokens",
        "cache_read_input_tokens",
        "code",
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | NAMES
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=10
)


@given(st.dictionaries(NAMES, ANYTHING), st.sampled_from(list(EXPECTED)), st.booleans())
def test_any_json_is_read_without_harm(value: dict[str, Any], path: str, streamed: bool) -> None:
    one = meter(path, stream=streamed)
    body = json.dumps(value).encode()
    run(one, b"data: " + body + b"\n\n" if streamed else body)
    found = one.usage(ESTIMATE)
    assert found.cached_tokens + found.cache_write_tokens <= found.input_tokens
    assert 0 <= found.reasoning_tokens <= found.output_tokens


@pytest.mark.parametrize("status", [400, 401, 429, 500, 529])
def test_an_error_takes_no_tokens(status: int) -> None:
    one = meter(CHAT, status=status)
    body = b'{"error": {"message": "no"}}'
    assert run(one, body) == body
    assert one.usage(ESTIMATE) == Usage(0, 0, model="asked-for")


def test_lists_take_no_tokens() -> None:
    models = registry.get("openai").match("GET", "/v1/models")
    assert models is not None
    one = metering.meter(models, stream=False, hide_usage=False, status=200)
    assert run(one, b'{"data": []}') == b'{"data": []}'
    assert (one.usage(ESTIMATE).total, one.failed, one.finished) == (0, "", True)


@pytest.mark.parametrize(("tier", "variant"), [("default", ""), ("flex", "service_tier=flex"), (None, ""), (3, "")])
def test_the_tier_that_served_a_call_is_kept(tier: Any, variant: str) -> None:
    one = meter(CHAT, stream=False)
    run(one, json.dumps({**fakes.answer(CHAT, {"model": "m-1"}), "service_tier": tier}).encode())
    assert one.usage(ESTIMATE).variant == variant


@pytest.mark.parametrize("rest", [b"]}", b'], "usage": {"prompt_tokens": 8', b'], "usage": {"prompt_tokens" 8}}'])
def test_an_endless_answer_that_does_not_tell_is_estimated(rest: bytes) -> None:
    one = meter(EMBEDDINGS, stream=False)
    run(one, b'{"data": [' + b"0.25," * (MAX_PARSED // 4), rest)
    assert one.usage(ESTIMATE) == Usage(700, 50, model="asked-for", counted_by="estimated")


@pytest.mark.parametrize("data", [b'{"usage": {', b'[{"usage": {}}]', b'"usage"'])
def test_an_event_that_is_none_is_passed_over(data: bytes) -> None:
    one = meter(MESSAGES)
    events = list(fakes.events(MESSAGES, {"model": "m-1"}))
    run(one, events[0], b'data: {"usage": ' + data + b"\n\n", b"data: " + data + b"\n\n", *events[1:])
    assert one.usage(ESTIMATE) == EXPECTED[MESSAGES]


def test_a_failed_response_is_a_failure() -> None:
    one = meter(RESPONSES, stream=False)
    run(one, json.dumps({"status": "failed", "error": None, "usage": fakes.RESPONSES_USAGE}).encode())
    assert (one.failed, one.usage(ESTIMATE).total) == ("failed", 30)
