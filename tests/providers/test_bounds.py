"""What a call can take at most, and what the house's key may be asked for."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitalme.errors import InvalidRequest
from providers import metering, registry
from providers.bounds import IMAGE_TOKENS, TOOL_TOKENS
from providers.manifest import Operation

PATHS = {
    "chat": ("openai", "/v1/chat/completions"),
    "responses": ("openai", "/v1/responses"),
    "embeddings": ("openai", "/v1/embeddings"),
    "messages": ("anthropic", "/v1/messages"),
    "count_tokens": ("anthropic", "/v1/messages/count_tokens"),
}
HELLO = [{"role": "user", "content": "hi"}]
DATA_URL = "data:image/png;base64," + "A" * 100_000


def operation(name: str) -> Operation:
    slug, path = PATHS[name]
    found = registry.get(slug).match("POST", path)
    assert found is not None
    return found


def estimate(name: str, body: Any) -> metering.Estimate:
    return metering.estimate(operation(name), body, len(json.dumps(body)))


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": HELLO, **more}


@pytest.mark.parametrize(
    ("name", "body", "output"),
    [
        ("chat", {}, 1024),
        ("chat", {"max_tokens": 50}, 50),
        ("chat", {"max_completion_tokens": 70}, 70),
        ("chat", {"max_completion_tokens": 70, "max_tokens": 90}, 90),
        ("chat", {"max_tokens": 50, "n": 3}, 150),
        ("chat", {"max_tokens": None, "n": None}, 1024),
        ("chat", {"n": 2}, 2048),
        ("responses", {"max_output_tokens": 60}, 60),
        ("responses", {}, 1024),
        ("messages", {"max_tokens": 40}, 40),
        ("messages", {"max_tokens": 40, "thinking": {"type": "enabled", "budget_tokens": 2000}}, 2000),
        ("embeddings", {"input": "hi"}, 0),
    ],
)
def test_the_output_is_bounded_by_the_body(name: str, body: dict[str, Any], output: int) -> None:
    assert estimate(name, {"model": "m", **body}).output_tokens == output


def test_the_input_is_bounded_by_the_bodys_length() -> None:
    found = metering.estimate(operation("chat"), chat(), 700)
    assert (found.requests, found.input_tokens, found.model, found.stream) == (1, 700, "gpt-4o-mini", False)


def test_what_is_not_metered_takes_no_tokens() -> None:
    assert metering.estimate(operation("count_tokens"), None, 5000) == metering.Estimate(1, 0, 0, "", False)


def test_tools_bring_instructions_of_their_own() -> None:
    body = chat(tools=[{"type": "function", "function": {"name": "f"}}])
    assert estimate("chat", body).input_tokens == len(json.dumps(body)) + TOOL_TOKENS


@pytest.mark.parametrize(
    ("name", "part", "data"),
    [
        ("chat", {"type": "image_url", "image_url": {"url": DATA_URL}}, len(DATA_URL)),
        ("chat", {"type": "image_url", "image_url": {"url": "https://x.test/cat.png"}}, 0),
        ("messages", {"type": "image", "source": {"type": "base64", "data": "A" * 5000}}, 5000),
        ("messages", {"type": "image", "source": {"type": "url", "url": "https://x.test/cat.png"}}, 0),
        (
            "messages",
            {"type": "tool_result", "content": [{"type": "image", "source": {"type": "base64", "data": "A" * 5000}}]},
            5000,
        ),
    ],
)
def test_an_image_counts_a_flat_rate(name: str, part: dict[str, Any], data: int) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": [part]}]}
    expected = len(json.dumps(body)) - data + IMAGE_TOKENS[operation(name).dialect]
    assert estimate(name, body).input_tokens == expected


def test_an_image_of_a_response_counts_a_flat_rate() -> None:
    part = {"type": "input_image", "image_url": DATA_URL}
    body = {"model": "m", "input": [{"role": "user", "content": [part]}]}
    expected = len(json.dumps(body)) - len(DATA_URL) + IMAGE_TOKENS["openai_responses"]
    assert estimate("responses", body).input_tokens == expected


def test_a_document_counts_by_its_length() -> None:
    part = {"type": "document", "source": {"type": "base64", "data": "A" * 5000}}
    body = {"model": "m", "messages": [{"role": "user", "content": [part]}]}
    assert estimate("messages", body).input_tokens == len(json.dumps(body))


NONSENSE = [-1, -(10**30), 10_000_001, 10**30, 1.5, float("nan"), float("inf"), True, False, "50", [], {}]


@pytest.mark.parametrize("value", NONSENSE, ids=repr)
@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("chat", "max_tokens"),
        ("chat", "max_completion_tokens"),
        ("chat", "n"),
        ("responses", "max_output_tokens"),
        ("messages", "max_tokens"),
    ],
)
def test_a_limit_that_is_none_is_refused(name: str, key: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=key):
        estimate(name, {"model": "m", key: value})


@pytest.mark.parametrize("value", NONSENSE, ids=repr)
def test_a_thinking_budget_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest, match="budget_tokens"):
        estimate("messages", {"model": "m", "thinking": {"budget_tokens": value}})


@pytest.mark.parametrize("body", [{"n": 0}, {"n": 129}, {"stream": "yes"}, {"stream": 1}, {"stream_options": True}])
def test_other_nonsense_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        estimate("chat", chat(**body))


@pytest.mark.parametrize("model", [None, "", 3, "m" * 257, "m\nX: y", ["m"]])
def test_a_model_that_is_none_is_refused(model: Any) -> None:
    with pytest.raises(InvalidRequest, match="model"):
        estimate("chat", {"model": model, "messages": HELLO})


@pytest.mark.parametrize("body", [None, [], "text", 3])
def test_a_body_that_is_no_object_is_refused(body: Any) -> None:
    with pytest.raises(InvalidRequest):
        metering.estimate(operation("chat"), body, 10)


WORDS = st.sampled_from(["", "m", "type", "content", "text", "image", "file_id", "source", "input"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["model", "messages", "input", "n", "max_tokens", "stream", "stream_options", "tools", "system"])


@given(name=st.sampled_from(sorted(PATHS)), body=st.dictionaries(KEYS, JSON), house=st.booleans())
def test_any_body_is_estimated_and_prepared_or_refused(name: str, body: dict[str, Any], house: bool) -> None:
    before = copy.deepcopy(body)
    try:
        found = metering.estimate(operation(name), body, 100)
        metering.prepare(operation(name), body, cap_output=house)
    except InvalidRequest:
        pass
    else:
        assert found.input_tokens >= 0
        assert found.output_tokens >= 0
    assert repr(body) == repr(before)


def test_a_chat_stream_is_asked_for_its_usage() -> None:
    body = chat(stream=True, stream_options={"include_obfuscation": False})
    prepared, hidden = metering.prepare(operation("chat"), body, cap_output=False)
    assert prepared["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert hidden
    assert body["stream_options"] == {"include_obfuscation": False}


@pytest.mark.parametrize("given_options", [None, {}, {"include_usage": False}])
def test_a_caller_who_did_not_ask_sees_no_usage(given_options: Any) -> None:
    _, hidden = metering.prepare(operation("chat"), chat(stream=True, stream_options=given_options), cap_output=False)
    assert hidden


def test_a_caller_who_asked_sees_it() -> None:
    body = chat(stream=True, stream_options={"include_usage": True})
    prepared, hidden = metering.prepare(operation("chat"), body, cap_output=False)
    assert prepared is body
    assert not hidden


@pytest.mark.parametrize("name", ["responses", "messages", "embeddings"])
def test_other_streams_need_no_asking(name: str) -> None:
    body = {"model": "m", "stream": True}
    prepared, hidden = metering.prepare(operation(name), body, cap_output=False)
    assert prepared is body
    assert not hidden


@pytest.mark.parametrize(
    ("name", "key"), [("chat", "max_completion_tokens"), ("responses", "max_output_tokens"), ("messages", "max_tokens")]
)
def test_the_house_caps_what_has_no_limit(name: str, key: str) -> None:
    prepared, _ = metering.prepare(operation(name), {"model": "m"}, cap_output=True)
    assert prepared == {"model": "m", key: metering.DEFAULT_OUTPUT_TOKENS}


@pytest.mark.parametrize("key", ["max_tokens", "max_completion_tokens"])
def test_the_house_keeps_a_limit_that_is_there(key: str) -> None:
    prepared, _ = metering.prepare(operation("chat"), chat(**{key: 5000}), cap_output=True)
    assert prepared == chat(**{key: 5000})


def test_an_own_key_is_not_capped() -> None:
    body = chat()
    assert metering.prepare(operation("chat"), body, cap_output=False)[0] is body


def test_what_the_house_pays_for_goes_out_as_it_was_read() -> None:
    body = json.loads('{"model": "m", "max_tokens": 9999999, "max_tokens": 5}')
    prepared, _ = metering.prepare(operation("chat"), body, cap_output=True)
    assert prepared is not body
    assert prepared == {"model": "m", "max_tokens": 5}


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("chat", {"service_tier": "priority"}),
        ("chat", {"modalities": ["text", "audio"]}),
        ("chat", {"web_search_options": {}}),
        ("chat", {"base_url": "https://sink.test"}),
        ("chat", {"api_base": "https://sink.test"}),
        ("chat", {"prediction": {"type": "content", "content": "x"}}),
        ("chat", {"model": "gpt-4o-search-preview"}),
        ("chat", {"model": "gpt-4o-audio-preview"}),
        ("chat", {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}),
        ("chat", {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}),
        ("responses", {"previous_response_id": "resp_1"}),
        ("responses", {"conversation": "conv_1"}),
        ("responses", {"prompt": {"id": "pmpt_1"}}),
        ("responses", {"background": True}),
        ("responses", {"tools": [{"type": "web_search"}]}),
        ("responses", {"tools": [{"type": "mcp", "server_url": "https://sink.test"}]}),
        ("responses", {"tools": [{"type": "code_interpreter"}]}),
        ("responses", {"input": [{"type": "item_reference", "id": "msg_1"}]}),
        ("responses", {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}]}),
        ("responses", {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://x"}]}]}),
        ("messages", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
        ("messages", {"mcp_servers": [{"url": "https://sink.test"}]}),
        ("messages", {"container": "c"}),
        ("messages", {"speed": "fast"}),
        ("messages", {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "url"}}]}]}),
        (
            "messages",
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}
                ]
            },
        ),
    ],
)
def test_the_house_does_not_pay_for_what_no_body_bounds(name: str, body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="demo key"):
        metering.prepare(operation(name), {"model": "m", **body}, cap_output=True)
    metering.prepare(operation(name), {"model": "m", **body}, cap_output=False)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("chat", {"messages": HELLO, "temperature": 0.5, "tools": [{"type": "function", "function": {"name": "f"}}]}),
        ("chat", {"messages": HELLO, "response_format": {"type": "json_object"}, "service_tier": "auto"}),
        ("chat", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": DATA_URL}}]}]}),
        ("chat", {"messages": HELLO, "audio": None, "store": False}),
        ("responses", {"input": "hi", "instructions": "be kind", "reasoning": {"effort": "low"}, "background": False}),
        ("responses", {"input": [{"type": "function_call_output", "call_id": "c", "output": "3"}]}),
        ("messages", {"messages": HELLO, "system": [{"type": "text", "text": "x", "cache_control": {}}]}),
        ("messages", {"messages": HELLO, "tools": [{"name": "f", "input_schema": {"type": "object"}}]}),
        ("embeddings", {"input": ["a", "b"], "dimensions": 8, "encoding_format": "base64"}),
        ("embeddings", {"input": [[1, 2], [3]]}),
    ],
)
def test_the_house_pays_for_ordinary_calls(name: str, body: dict[str, Any]) -> None:
    metering.prepare(operation(name), {"model": "m", **body}, cap_output=True)


def test_the_house_reads_no_endless_nesting() -> None:
    messages: list[Any] = []
    for _ in range(50):
        messages = [{"content": messages}]
    with pytest.raises(InvalidRequest, match="nested"):
        metering.prepare(operation("messages"), {"model": "m", "messages": messages}, cap_output=True)
    assert estimate("messages", {"model": "m", "messages": messages}).output_tokens == 1024
