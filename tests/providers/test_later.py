"""Answers that name a call whose figures come later, and those that bring them."""

import json
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest

from providers import metering, payloads, pricing, registry
from providers.counts import Bill
from providers.metering import Estimate, Meter, Usage

PLAIN = "application/x-www-form-urlencoded"


def read(
    slug: str, method: str, address: str, answer: Any, body: bytes = b"", kind: str = ""
) -> tuple[Meter, Estimate]:
    """What the gateway does with a request and its answer, apart from the network."""
    provider = registry.get(slug)
    path, _, query = address.partition("?")
    operation = provider.match(method, path)
    assert operation is not None
    asked = payloads.read(operation, body, kind, query)
    operation = metering.told(operation, asked)
    before = metering.estimate(operation, asked, len(body), path)
    meter = metering.meter(
        operation, stream=before.stream, hide_usage=False, status=200, failures=provider.manifest.failures
    )
    meter.feed(answer.encode() if isinstance(answer, str) else json.dumps(answer).encode())
    meter.end()
    return meter, before


def captcha(method: str, address: str, answer: Any, body: Any = b"", kind: str = "") -> tuple[Meter, Estimate]:
    if isinstance(body, dict):
        body, kind = json.dumps(body).encode(), "application/json"
    return read("twocaptcha", method, address, answer, body, kind)


@pytest.mark.parametrize(
    ("address", "answer", "reference", "units"),
    [
        ("/createTask", {"errorId": 0, "taskId": 72345678901}, "72345678901", 1),
        ("/in.php", "OK|71", "71", 1),
        ("/in.php", {"status": 1, "request": "71"}, "71", 1),
        ("/createTask", {"errorId": 1, "errorCode": "ERROR_KEY_DOES_NOT_EXIST"}, "", 0),
        ("/in.php", "ERROR_ZERO_BALANCE", "", 0),
        ("/in.php", {"status": 0, "request": "ERROR_ZERO_BALANCE"}, "", 0),
    ],
)
def test_a_captcha_that_is_taken_has_the_flat_price_and_a_name(
    address: str, answer: Any, reference: str, units: int
) -> None:
    meter, before = captcha("POST", address, answer, {"type": "x"})
    assert (meter.reference, meter.usage(before).units, before.requests) == (reference, units, 1)
    assert meter.bill(before) is None


SOLVED = {"errorId": 0, "status": "ready", "solution": {"text": "x"}, "solveCount": "1"}


@pytest.mark.parametrize(
    ("address", "answer", "asked", "cost"),
    [
        ("/getTaskResult", {**SOLVED, "cost": "0.00145"}, {"taskId": 71}, "0.00145"),
        ("/getTaskResult", {**SOLVED, "cost": 0}, {"taskId": "71"}, "0"),
        ("/res.php?action=get2&id=71", "OK|solved|0.00299", None, "0.00299"),
        ("/res.php?action=get2&id=71&json=1", {"status": 1, "request": "solved", "price": "0.00299"}, None, "0.00299"),
        # Nothing is taken for what nobody could solve.
        ("/res.php?action=get&id=71", "ERROR_CAPTCHA_UNSOLVABLE", None, "0"),
        ("/getTaskResult", {"errorId": 12, "errorCode": "ERROR_CAPTCHA_UNSOLVABLE"}, {"taskId": 71}, "0"),
        # Without a price the flat one stays.
        ("/getTaskResult", SOLVED, {"taskId": 71}, None),
        ("/getTaskResult", {**SOLVED, "cost": "much"}, {"taskId": 71}, None),
        ("/getTaskResult", {**SOLVED, "cost": "-1"}, {"taskId": 71}, None),
        ("/getTaskResult", {"errorId": 0, "status": "processing", "cost": "1"}, {"taskId": 71}, None),
        ("/getTaskResult", {**SOLVED, "cost": "0.00145"}, {}, None),
        ("/res.php?action=get&id=71", "OK|solved|5", None, None),
        ("/res.php?action=get2&id=71", "CAPCHA_NOT_READY", None, None),
        ("/res.php?action=getbalance", "3.2", None, None),
    ],
)
def test_a_result_tells_what_the_task_cost(address: str, answer: Any, asked: Any, cost: str | None) -> None:
    method = "POST" if asked is not None else "GET"
    meter, before = captcha(method, address, answer, asked or b"")
    assert meter.bill(before) == (Bill("71", Usage(0, 0, cost=Decimal(cost))) if cost is not None else None)
    assert (before.requests, meter.usage(before)) == (0, Usage(0, 0)), "asking is no captcha"


def test_a_result_may_be_asked_for_in_a_form() -> None:
    body = urlencode({"action": "get2", "id": "71"}).encode()
    meter, before = captcha("POST", "/res.php", "OK|a|b|0.5", body, PLAIN)
    assert meter.bill(before) == Bill("71", Usage(0, 0, cost=Decimal("0.5")))


TOKENS = {"input_tokens": 1_000_000, "output_tokens": 1_000_000, "total_tokens": 2_000_000}


def test_a_finished_batch_costs_half() -> None:
    batch = {"id": "batch_1", "object": "batch", "status": "completed", "model": "gpt-5", "usage": TOKENS}
    meter, before = read("openai", "GET", "/v1/batches/batch_1", batch)
    bill = meter.bill(before)
    assert bill is not None
    assert (meter.reference, bill.reference, meter.usage(before).total) == ("", "batch_1", 0)
    assert pricing.price(registry.get("openai").manifest, "gpt-5", bill.usage).cost == Decimal("5.625")


@pytest.mark.parametrize("value", [{"object": "list", "data": []}, {"id": "batch_1", "object": "batch"}, [], "<html>"])
def test_what_has_not_ended_is_no_bill(value: Any) -> None:
    meter, before = read("openai", "GET", "/v1/batches/batch_1", value)
    assert (meter.bill(before), meter.reference, meter.failed) == (None, "", "")


def test_a_new_batch_has_a_name() -> None:
    meter, before = read("openai", "POST", "/v1/batches", {"id": "batch_1", "object": "batch", "status": "validating"})
    assert (meter.reference, meter.bill(before), meter.usage(before)) == ("batch_1", None, Usage(0, 0))


def test_a_response_in_the_background_is_estimated_until_it_is_fetched() -> None:
    body = json.dumps({"model": "gpt-5", "input": "hi", "background": True, "max_output_tokens": 700}).encode()
    queued = {"id": "resp_1", "object": "response", "status": "queued", "background": True, "model": "gpt-5"}
    meter, before = read("openai", "POST", "/v1/responses", queued, body)
    assert meter.reference == "resp_1"
    assert (meter.usage(before).output_tokens, meter.usage(before).counted_by) == (700, "estimated")
    done = {**queued, "status": "completed", "usage": TOKENS}
    meter, before = read("openai", "GET", "/v1/responses/resp_1", done)
    assert meter.bill(before) == Bill("resp_1", Usage(1_000_000, 1_000_000, model="gpt-5"))
    meter, before = read("openai", "POST", "/v1/responses", done, body)
    assert (meter.reference, meter.usage(before).total) == ("", 2_000_000)


@pytest.mark.parametrize("name", [True, None, 1.5, "x" * 101, "é", "a\nb", {"a": 1}])
def test_no_nonsense_is_a_name(name: Any) -> None:
    assert captcha("POST", "/createTask", {"errorId": 0, "taskId": name})[0].reference == ""
