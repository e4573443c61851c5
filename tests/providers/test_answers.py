"""Answers that rules meter: failures with a good status, numbers at JSON paths, a price for each."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import metering, pricing, registry, rules
from providers.metering import Estimate, Meter, Usage
from providers.operations import Operation, UsagePaths
from providers.registry import Provider

ESTIMATE = Estimate(1, 100, 1024, "asked", False)
PATHS = UsagePaths(
    input_tokens=(("usage", "in"),),
    output_tokens=(("usage", "out"), ("usage", "thought")),
    cached_tokens=(("usage", "cached"),),
    reasoning_tokens=(("usage", "thought"),),
    model=(("model",),),
    cost=(("price",),),
)
READ = Operation("x", ("POST",), "/x", dialect="json", usage=PATHS)


def metered(slug: str, path: str, body: bytes, status: int = 200) -> tuple[Meter, Provider, Operation]:
    provider = registry.get(slug)
    operation = provider.match("POST", path)
    assert operation
    found = metering.meter(
        operation, stream=False, hide_usage=False, status=status, failures=provider.manifest.failures
    )
    assert found.feed(body) == body
    found.end()
    return found, provider, operation


@pytest.mark.parametrize(
    ("slug", "path", "body", "failed"),
    [
        ("slack", "/api/chat.postMessage", b'{"ok":true}', ""),
        ("slack", "/api/chat.postMessage", b'{"ok":false,"error":"channel_not_found"}', "channel_not_found"),
        ("slack", "/api/chat.postMessage", b'{"ok":false}', "refused"),
        ("slack", "/api/chat.postMessage", b"not json", ""),
        ("telegram", "/bot/sendMessage", b'{"ok":false,"error_code":400}', "400"),
        ("twocaptcha", "/createTask", b'{"errorId":0,"taskId":1}', ""),
        ("twocaptcha", "/createTask", b'{"errorId":10,"errorCode":"ERROR_ZERO_BALANCE"}', "ERROR_ZERO_BALANCE"),
        ("twocaptcha", "/in.php", b"OK|123", ""),
        ("twocaptcha", "/in.php", b"ERROR_ZERO_BALANCE", "refused"),
        ("twocaptcha", "/in.php", b'{"status":0,"request":"ERROR_ZERO_BALANCE"}', "ERROR_ZERO_BALANCE"),
        ("twocaptcha", "/res.php", b"CAPCHA_NOT_READY", ""),
    ],
)
def test_a_failure_with_a_good_status_is_seen_and_passed_on(slug: str, path: str, body: bytes, failed: str) -> None:
    meter, _, _ = metered(slug, path, body)
    assert (meter.failed, meter.garbled, meter.finished) == (failed, False, True)


@pytest.mark.parametrize(
    ("path", "body", "cost"),
    [
        ("/createTask", b'{"errorId":0,"taskId":1}', "0.001"),
        ("/createTask", b'{"errorId":10,"errorCode":"ERROR_ZERO_BALANCE"}', "0"),
        ("/in.php", b"OK|1", "0.001"),
        ("/in.php", b"ERROR_ZERO_BALANCE", "0"),
        ("/getTaskResult", b'{"errorId":0,"status":"ready","cost":"0.00299"}', "0"),
    ],
)
def test_each_captcha_that_is_taken_has_its_price(path: str, body: bytes, cost: str) -> None:
    meter, provider, operation = metered("twocaptcha", path, body)
    usage = meter.usage(ESTIMATE)
    assert pricing.price(provider.manifest, usage.model, usage, operation).cost == Decimal(cost)


def test_the_price_is_held_before_the_call() -> None:
    provider = registry.get("twocaptcha")
    operation = provider.match("POST", "/createTask")
    assert pricing.ceiling(provider.manifest, "", 0, 0, operation) == Decimal("0.001")
    assert pricing.ceiling(provider.manifest, "", 0, 0, provider.match("POST", "/getBalance")) == 0


def read(value: Any) -> Usage:
    meter = metering.meter(READ, stream=False, hide_usage=False, status=200)
    meter.feed(value if isinstance(value, bytes) else json.dumps(value).encode())
    meter.end()
    return meter.usage(ESTIMATE)


def test_numbers_are_read_where_the_definition_says() -> None:
    value = {"model": "m", "price": "0.0025", "usage": {"in": 10, "out": 4, "thought": 3, "cached": 6}}
    assert read(value) == Usage(10, 7, 6, reasoning_tokens=3, model="m", cost=Decimal("0.0025"))


def test_what_a_provider_says_that_it_cost_comes_first() -> None:
    usage = read({"price": 0.0025, "usage": {"in": 1}})
    manifest = registry.get("openai").manifest
    assert pricing.price(manifest, "gpt-4o", usage, READ) == pricing.Price(Decimal("0.002500000"), "provider")


@pytest.mark.parametrize("price", [True, "NaN", "-1", "1e9", "x", [], None, float("inf")])
def test_a_cost_that_is_none_is_not_believed(price: Any) -> None:
    assert read({"price": price, "usage": {"in": 1}}).cost is None


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"usage": 3}', b'{"usage": {"in": "7", "out": -1}}'])
def test_an_answer_without_numbers_is_estimated(body: bytes) -> None:
    usage = read(body)
    assert (usage.input_tokens, usage.counted_by, usage.model) == (100, "estimated", "asked")


def test_an_error_takes_nothing() -> None:
    meter = metering.meter(READ, stream=False, hide_usage=False, status=500)
    meter.feed(b'{"usage": {"in": 10}}')
    meter.end()
    assert meter.usage(ESTIMATE).total == 0


def test_gemini_is_counted_with_its_thoughts() -> None:
    value = {
        "modelVersion": "gemini-2.5-flash",
        "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 50, "thoughtsTokenCount": 10},
    }
    meter, provider, operation = metered(
        "google", "/generativelanguage/v1beta/models/gemini-2.5-flash:generateContent", json.dumps(value).encode()
    )
    usage = meter.usage(ESTIMATE)
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens) == (100, 60, 10)
    assert pricing.price(provider.manifest, usage.model, usage, operation).cost == Decimal("0.000180000")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["usage", "in", "out", "0"]), inner),
    max_leaves=10,
)


@given(JSON)
def test_no_answer_is_counted_below_nothing(value: Any) -> None:
    usage = read(value)
    assert usage.input_tokens >= 0
    assert 0 <= usage.reasoning_tokens <= usage.output_tokens
    assert usage.cached_tokens <= usage.input_tokens


@given(JSON, st.lists(st.sampled_from(["usage", "in", "0", "1", "x"]), max_size=4))
def test_a_path_leads_somewhere_or_nowhere_but_never_astray(value: Any, path: list[str]) -> None:
    rules.at(value, path)
