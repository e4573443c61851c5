"""The practice provider speaks OpenAI's chat format."""

import json
from typing import Any

import pytest

from providers import builtin, manifest, metering, sandbox
from providers.manifest import Operation
from providers.metering import Estimate

ESTIMATE = Estimate(1, 100, 100, "sandbox-1", False)
ASK = {"model": "sandbox-1", "messages": [{"role": "user", "content": "What is a quota?"}]}


def operation(method: str, path: str) -> Operation:
    found = manifest.load(builtin.CATALOG / "sandbox.toml").match(method, path)
    assert found is not None
    return found


CHAT = operation("POST", "/v1/chat/completions")


def ask(**more: Any) -> sandbox.SandboxAnswer:
    return sandbox.answer(CHAT, {**ASK, **more})


def whole(**more: Any) -> Any:
    return json.loads(b"".join(ask(**more).chunks))


def events(**more: Any) -> list[Any]:
    data = [chunk.removeprefix(b"data: ").strip() for chunk in ask(stream=True, **more).chunks]
    assert data[-1] == b"[DONE]"
    return [json.loads(one) for one in data[:-1]]


def test_it_answers_labelled_and_the_same_each_time() -> None:
    found = whole()
    content = found["choices"][0]["message"]["content"]
    assert content.startswith("[Sandbox]")
    assert "What is a quota?" in content
    assert whole() == found


def test_its_usage_adds_up() -> None:
    usage = whole()["usage"]
    assert usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"]
    assert usage["prompt_tokens"] == 8
    assert usage["completion_tokens"] > 10


@pytest.mark.parametrize("key", ["max_tokens", "max_completion_tokens"])
def test_it_keeps_to_the_limit(key: str) -> None:
    found = whole(**{key: 3})
    assert found["usage"]["completion_tokens"] == 3
    assert found["choices"][0]["finish_reason"] == "length"


def test_a_stream_says_the_same() -> None:
    pieces = [one["choices"][0]["delta"].get("content", "") for one in events()]
    assert "".join(pieces) == whole()["choices"][0]["message"]["content"]
    assert events()[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_stream_tells_its_usage_where_asked() -> None:
    found = events(stream_options={"include_usage": True})
    assert found[-1]["choices"] == []
    assert found[-1]["usage"] == whole()["usage"]
    assert all(one["usage"] is None for one in found[:-1])
    assert all("usage" not in one for one in events())


@pytest.mark.parametrize("streamed", [False, True])
def test_it_is_metered_as_a_real_provider_is(streamed: bool) -> None:
    body, hidden = metering.prepare(CHAT, {**ASK, "stream": streamed}, cap_output=True)
    meter = metering.meter(CHAT, stream=streamed, hide_usage=hidden, status=200)
    for chunk in sandbox.answer(CHAT, body).chunks:
        meter.feed(chunk)
    meter.end()
    found = meter.usage(ESTIMATE)
    assert (found.total, found.model, found.counted_by) == (whole()["usage"]["total_tokens"], "sandbox-1", "provider")


@pytest.mark.parametrize("messages", [None, [], "hi", {}])
def test_a_request_without_messages_is_refused_as_openai_does(messages: Any) -> None:
    found = ask(messages=messages)
    assert found.status == 400
    assert json.loads(found.chunks[0])["error"]["param"] == "messages"


@pytest.mark.parametrize(
    "messages", [["hi"], [{}], [{"role": "user", "content": None}], [{"role": "user", "content": [{"type": "text"}]}]]
)
def test_odd_messages_are_answered(messages: Any) -> None:
    assert whole(messages=messages)["choices"][0]["message"]["content"].startswith("[Sandbox]")


def test_parts_of_text_are_read() -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "Good"}, {"type": "text", "text": "day"}]}]
    assert "Good day" in whole(messages=messages)["choices"][0]["message"]["content"]


def test_it_lists_its_model() -> None:
    listed = sandbox.answer(operation("GET", "/v1/models"), {})
    assert json.loads(listed.chunks[0])["data"][0]["id"] == "sandbox-1"
    one = sandbox.answer(operation("GET", "/v1/models/sandbox-1"), {})
    assert json.loads(one.chunks[0])["id"] == "sandbox-1"
