"""What an MCP message counts as, and which of the answers is a failure."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import metering
from tests.providers.test_mcp import POST, says


@pytest.mark.parametrize(
    ("message", "name", "requests", "tool"),
    [
        (says(method="tools/call", params={"name": "add"}), "tools/call", 1, "add"),
        ({"method": "tools/call", "params": {"name": "a\nb"}}, "tools/call", 1, ""),
        (says(method="tools/list"), "tools/list", 1, ""),
        (says(method="tools/list", params=[1]), "tools/list", 1, ""),
        (says(method="<b>" + "x" * 99), "b" + "x" * 47, 1, ""),
        (says(method="\u00e9"), "other", 1, ""),
        (says(method=7), "message", 1, ""),
        ({"jsonrpc": "2.0", "method": "notifications/cancelled"}, "notifications/cancelled", 0, ""),
        (says(result={}), "answer", 0, ""),
        (says(error={}), "answer", 0, ""),
        ({}, "message", 1, ""),
    ],
)
def test_a_message_is_known_by_its_method(message: dict[str, Any], name: str, requests: int, tool: str) -> None:
    found = metering.told(POST, message)
    estimate = metering.estimate(found, message, 99)
    assert (found.name, found.requests) == (name, requests)
    assert (estimate.requests, estimate.model, estimate.input_tokens, estimate.stream) == (requests, tool, 0, True)


FAILED = json.dumps(says(error={"code": -32602, "message": "x"})).encode()
FINE = json.dumps(says(result={"isError": True})).encode()
BODIES = [
    (FAILED, "rpc_-32602"),
    (b" \n" + FAILED, "rpc_-32602"),
    (b"data: " + FAILED + b"\n\n", "rpc_-32602"),
    (b": ping\n\nevent: message\r\ndata: " + FAILED + b"\r\n\r\n", "rpc_-32602"),
    (json.dumps(says(error={"code": None})).encode(), "rpc_error"),
    (FINE, ""),
    (b"data: " + FINE + b"\n\n", ""),
    (b'data: {"method":"notifications/message","params":{"error":1}}\n\n', ""),
    (b"", ""),
    (b"nothing", ""),
]


@given(body=st.sampled_from(BODIES), cuts=st.lists(st.integers(0, 120), max_size=4))
def test_an_error_among_the_answers_is_a_failure(body: tuple[bytes, str], cuts: list[int]) -> None:
    whole, failed = body
    meter = metering.meter(POST, stream=True, hide_usage=False, status=200)
    places = sorted({0, len(whole), *(min(cut, len(whole)) for cut in cuts)})
    passed = b"".join(meter.feed(whole[a:b]) for a, b in itertools.pairwise(places)) + meter.end()
    assert (passed, meter.failed, meter.finished) == (whole, failed, True)
    assert meter.usage(metering.estimate(POST, {}, 0)).total == 0


def test_what_is_too_large_is_passed_on_and_not_looked_at() -> None:
    meter = metering.meter(POST, stream=True, hide_usage=False, status=200)
    piece = b"{" + b" " * 1024 * 1024
    assert all(meter.feed(piece) == piece for _ in range(9))
    assert (meter.end(), meter.failed) == (b"", "")
