"""Golden answers beside the plain ones: nothing taken is not nothing told, and what a price depends on is read."""

import json
import re
from decimal import Decimal
from typing import Any

import pytest

from providers import metering, pricing, registry
from providers.counts import Usage
from providers.streams import NoMeter
from tests import fakes
from tests.providers.test_metering import CHAT, EMBEDDINGS, ESTIMATE, MESSAGES, RESPONSES, meter, operation, run, stream

_COUNTS = re.compile(rb'("(?!max_)\w*tokens": )\d+')


def zeroed(whole: bytes) -> bytes:
    return _COUNTS.sub(rb"\g<1>0", whole)


@pytest.mark.parametrize("path", [CHAT, RESPONSES, EMBEDDINGS, MESSAGES])
def test_a_usage_of_nothing_is_the_providers_word(path: str) -> None:
    one = meter(path, stream=False)
    run(one, zeroed(json.dumps(fakes.answer(path, {"model": "m-1"})).encode()))
    usage = one.usage(ESTIMATE)
    assert (usage.total, usage.counted_by, usage.untold) == (0, "provider", False)
    manifest = registry.get("anthropic" if path == MESSAGES else "openai").manifest
    assert pricing.price(manifest, "unheard-of", usage).cost == 0


@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES])
def test_so_it_is_at_the_end_of_a_stream_that_delivered_something(path: str) -> None:
    one = meter(path)
    run(one, zeroed(stream(path)))
    assert one.finished
    assert (one.usage(ESTIMATE).total, one.usage(ESTIMATE).counted_by) == (0, "provider")


@pytest.mark.parametrize("path", [CHAT, RESPONSES, EMBEDDINGS, MESSAGES])
@pytest.mark.parametrize("missing", [{}, {"usage": None}])
def test_a_usage_that_is_missing_is_estimated_not_nothing(path: str, missing: dict[str, Any]) -> None:
    answer = {name: value for name, value in fakes.answer(path, {"model": "m-1"}).items() if name != "usage"}
    one = meter(path, stream=False)
    run(one, json.dumps({**answer, **missing}).encode())
    usage = one.usage(ESTIMATE)
    assert (usage.input_tokens, usage.counted_by) == (700, "estimated")
    assert usage.output_tokens > 0


def test_a_moderation_takes_nothing_and_costs_nothing() -> None:
    found = operation("/v1/moderations")
    before = metering.estimate(found, {"model": "omni-moderation-latest", "input": "hi"}, 60)
    one = metering.meter(found, stream=False, hide_usage=False, status=200)
    assert isinstance(one, NoMeter)
    run(one, b'{"id": "modr-1", "model": "omni-moderation-latest", "results": [{"flagged": false}]}')
    assert pricing.price(registry.get("openai").manifest, "omni-moderation-latest", one.usage(before)) == pricing.FREE


TOOLS = {
    "input_tokens": 1000,
    "output_tokens": 500,
    "cache_creation_input_tokens": 2000,
    "cache_read_input_tokens": 4000,
    "cache_creation": {"ephemeral_5m_input_tokens": 1500, "ephemeral_1h_input_tokens": 500},
    "output_tokens_details": {"thinking_tokens": 200},
    "server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 1},
}


@pytest.mark.parametrize("streamed", [False, True])
def test_caches_for_an_hour_thoughts_and_server_tools_of_a_message(streamed: bool) -> None:
    one = meter(MESSAGES, stream=streamed)
    message = {"type": "message", "model": "claude-sonnet-4-5", "content": [], "usage": TOOLS}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "usage": {**TOOLS, "output_tokens": 1}}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": TOOLS},
        {"type": "message_stop"},
    ]
    sent = b"".join(b"event: %s\ndata: %s\n\n" % (str(e["type"]).encode(), json.dumps(e).encode()) for e in events)
    run(one, sent if streamed else json.dumps(message).encode())
    usage = one.usage(ESTIMATE)
    expected = Usage(7000, 500, 4000, 2000, 200, "claude-sonnet-4-5", cache_write_1h_tokens=500, web_searches=3)
    assert usage == expected
    # 1,000 at 3, 4,000 read at 0.30, 1,500 written at 3.75, 500 for an hour at 6, 500 made at 15, 3 searches at 0.01.
    assert pricing.price(registry.get("anthropic").manifest, usage.model, usage).cost == Decimal("0.050325")
