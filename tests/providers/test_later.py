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


def batch_results(*messages: Any) -> bytes:
    lines = [{"custom_id": "x", "result": {"type": "succeeded", "message": one}} for one in messages]
    return b"".join(json.dumps(one).encode() + b"\n" for one in [*lines, {"result": {"type": "errored"}}])


def read_batch(path: str, body: bytes, method: str = "GET") -> tuple[Any, Estimate]:
    operation = registry.get("anthropic").match(method, path)
    assert operation is not None
    before = metering.estimate(operation, {}, 0, path)
    meter = metering.meter(operation, stream=False, hide_usage=False, status=200)
    meter.feed(body)
    meter.end()
    return meter, before


def test_a_batch_of_messages_is_priced_message_by_message_at_half() -> None:
    long = {"model": "claude-sonnet-4-5", "usage": {"input_tokens": 150_000, "output_tokens": 1000}}
    meter, before = read_batch("/v1/messages/batches/msgbatch_1/results", batch_results(long, long))
    bill = meter.bill(before)
    assert bill is not None
    # Each stays below the 200,000 tokens from which on everything is dearer: 150,000 at 1.50, 1,000 at 7.50.
    assert (bill.reference, bill.usage.cost, bill.version) == ("msgbatch_1", Decimal("0.465"), pricing.VERSION)
    assert (bill.usage.input_tokens, bill.usage.output_tokens, bill.usage.model) == (300_000, 2000, "claude-sonnet-4-5")
    odd = {"model": "unheard-of", "usage": {"input_tokens": 1}}
    meter, before = read_batch("/v1/messages/batches/msgbatch_1/results", batch_results(long, odd))
    assert (meter.bill(before).usage.cost, meter.bill(before).usage.model) == (None, "")


def test_a_new_batch_of_messages_has_a_name_and_no_price_yet() -> None:
    batch = json.dumps({"id": "msgbatch_1", "type": "message_batch", "processing_status": "in_progress"}).encode()
    meter, before = read_batch("/v1/messages/batches", batch, "POST")
    assert (meter.reference, meter.bill(before)) == ("msgbatch_1", None)
    assert pricing.price(registry.get("anthropic").manifest, "", meter.usage(before)).cost is None
    for path, body in (
        ("/v1/messages/batches/msgbatch_1", batch),
        ("/v1/messages/batches", b'{"data": [], "has_more": false}'),
        ("/v1/messages/batches/msgbatch_1/results", b"<html>\n[]\nnull\n"),
    ):
        meter, before = read_batch(path, body)
        assert (meter.reference, meter.bill(before), meter.usage(before)) == ("", None, Usage(0, 0))


def test_results_of_a_batch_pass_as_they_come_and_are_not_kept_without_bound() -> None:
    message = {"model": "claude-sonnet-4-5", "usage": {"input_tokens": 1, "output_tokens": 1}, "content": "x" * 1000}
    meter, before = read_batch("/v1/messages/batches/msgbatch_1/results", batch_results(message) * 9_000)
    assert metering.passes(meter)
    assert meter.bill(before) is None
    meter, _ = read_batch("/v1/messages/batches/msgbatch_1", b"{}")
    assert not metering.passes(meter)
