"""What a call cost is told by a later answer: it goes on the first call's record and limits, once."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests

from tests.fakes import FakeProvider, Reply
from tests.gateway.conftest import Person, WebProcess, command, until
from tests.gateway.sdks.conftest import answering
from tests.gateway.test_sdks import OWN_KEY
from tests.gateway.test_settlement import ledger_is_exact
from usage import bills, tasks
from usage.models import OpenBill, UsageRecord

pytestmark = pytest.mark.django_db(transaction=True)

DONE = {"errorId": 0, "status": "ready", "solution": {"text": "x"}, "cost": "0.00299"}
TOKENS = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}


def post(web: WebProcess, person: Person, address: str, body: Any, method: str = "POST") -> Any:
    url = f"{web.url}/gateway/{address}"
    return requests.request(method, url, json=body, headers=person.headers, timeout=20).json()


def by_operation(person: Person, operation: str) -> UsageRecord:
    (found,) = [one for one in person.records() if one.operation == operation]
    return found


def settled(person: Person, count: int) -> None:
    """Wait for the records, and for the bills that their answers told."""
    until(lambda: len(person.records()) == count)
    until(lambda: not OpenBill.objects.exists())


def test_a_captchas_price_takes_the_place_of_the_flat_one(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    command("set_allocation", ann.user.email, "--provider", "twocaptcha", "--type", "daily", "--cost", "1")
    answers = [{"errorId": 0, "status": "processing"}, DONE, DONE]
    answering(
        provider,
        {
            "POST /createTask": Reply(200, {"errorId": 0, "taskId": 71}),
            "POST /getTaskResult": lambda seen: Reply(200, answers.pop(0) if len(answers) > 1 else DONE),
        },
    )
    post(web, ann, "twocaptcha/createTask", {"clientKey": ann.token, "task": {"type": "ImageToTextTask"}})
    until(OpenBill.objects.exists)
    created = by_operation(ann, "createTask")
    assert (created.cost, created.charged_cost, created.price_version) == (
        Decimal("0.001"),
        Decimal("0.001"),
        "manifest",
    )
    for _ in range(4):
        post(web, ann, "twocaptcha/getTaskResult", {"clientKey": ann.token, "taskId": 71})
    settled(ann, 5)
    created = by_operation(ann, "createTask")
    assert (created.cost, created.charged_cost, created.price_version) == (
        Decimal("0.00299"),
        Decimal("0.00299"),
        "provider",
    )
    polls = [one for one in ann.records() if one.operation == "getTaskResult"]
    assert {(one.status, one.cost, one.charged_requests) for one in polls} == {("ok", Decimal(0), 0)}
    assert sum(one.charged_requests for one in ann.records()) == 1
    assert ledger_is_exact(ann)


def test_what_nobody_could_solve_costs_nothing(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    plain = {"content-type": "text/plain"}
    answering(
        provider,
        {
            "GET /in.php": Reply(200, b"OK|72", plain),
            "GET /res.php": Reply(200, b"ERROR_CAPTCHA_UNSOLVABLE", plain),
        },
    )
    base = web.gateway("twocaptcha")
    requests.get(f"{base}/in.php", params={"key": ann.token, "method": "post"}, timeout=20)
    until(OpenBill.objects.exists)
    requests.get(f"{base}/res.php", params={"key": ann.token, "action": "get", "id": "72"}, timeout=20)
    settled(ann, 2)
    assert [one.cost for one in ann.records()] == [Decimal(0), Decimal(0)]
    assert ledger_is_exact(ann)


def test_a_batch_is_billed_once_however_often_and_at_once_it_is_fetched(
    web: WebProcess, provider: FakeProvider, alice: Person
) -> None:
    command("set_key", "openai", "--user", alice.user.email, stdin=OWN_KEY)
    batch = {"id": "batch_1", "object": "batch", "status": "validating", "model": "gpt-5"}
    answering(
        provider,
        {
            "POST /v1/batches": Reply(200, batch),
            "GET /v1/batches/batch_1": Reply(200, {**batch, "status": "completed", "usage": TOKENS}),
        },
    )
    post(web, alice, "openai/v1/batches", {"input_file_id": "file-1"})
    until(OpenBill.objects.exists)
    assert by_operation(alice, "batches").charged_tokens == 0
    with ThreadPoolExecutor(4) as crowd:
        list(crowd.map(lambda _: post(web, alice, "openai/v1/batches/batch_1", None, "GET"), range(8)))
    settled(alice, 9)
    made = by_operation(alice, "batches")
    assert (made.input_tokens, made.output_tokens, made.charged_tokens, made.model) == (1000, 100, 1100, "gpt-5")
    # 1,000 tokens at 0.625, 100 at 5 dollars a million: half of what they cost at once.
    assert (made.cost, made.status) == (Decimal("0.001125"), "ok")
    assert sum(one.charged_tokens for one in alice.records()) == 1100
    assert ledger_is_exact(alice)


def test_nobody_elses_key_settles_a_bill(web: WebProcess, provider: FakeProvider, ann: Person, person: Any) -> None:
    bob = person()
    command("set_key", "twocaptcha", "--user", bob.user.email, stdin="f" * 32)
    answering(
        provider,
        {"POST /createTask": Reply(200, {"errorId": 0, "taskId": 73}), "POST /getTaskResult": Reply(200, DONE)},
    )
    post(web, ann, "twocaptcha/createTask", {"clientKey": ann.token, "task": {}})
    until(OpenBill.objects.exists)
    post(web, bob, "twocaptcha/getTaskResult", {"clientKey": bob.token, "taskId": 73})
    until(lambda: len(bob.records()) == 1)
    assert by_operation(ann, "createTask").cost == Decimal("0.001")
    assert OpenBill.objects.exists()


def test_what_no_answer_comes_for_is_forgotten(ann: Person) -> None:
    now = datetime.now(UTC)
    for name, age in (("old", bills.KEPT + timedelta(hours=1)), ("new", timedelta(days=1))):
        OpenBill.objects.create(credential_id=ann.user.pk, reference=name, request_id=ann.user.pk, noted_at=now - age)
    tasks.roll_up()
    assert list(OpenBill.objects.values_list("reference", flat=True)) == ["new"]


def test_a_batch_of_messages_is_billed_by_its_results(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    batch = {"id": "msgbatch_1", "type": "message_batch", "processing_status": "ended"}
    message = {"model": "claude-opus-4-5", "usage": {"input_tokens": 1000, "output_tokens": 1000}}
    line = json.dumps({"custom_id": "a", "result": {"type": "succeeded", "message": message}}).encode() + b"\n"
    results = Reply(200, line * 3, {"content-type": "application/x-jsonl"})
    address = "/v1/messages/batches"
    answering(
        provider,
        {
            f"POST {address}": Reply(200, batch),
            f"GET {address}/msgbatch_1": Reply(
                200, {**batch, "results_url": f"{provider.url}{address}/msgbatch_1/results"}
            ),
            f"GET {address}/msgbatch_1/results": results,
        },
    )
    command("set_key", "anthropic", "--user", ann.user.email, stdin="sk-ant-api03-" + "a1B2" * 8)
    post(web, ann, f"anthropic{address}", {"requests": []})
    until(OpenBill.objects.exists)
    assert by_operation(ann, "batches").cost is None
    told = post(web, ann, f"anthropic{address}/msgbatch_1", None, "GET")
    assert told["results_url"].startswith(f"{web.url}/gateway/anthropic/")
    for _ in range(2):
        assert requests.get(told["results_url"], headers=ann.headers, timeout=20).content == line * 3
    settled(ann, 4)
    record = by_operation(ann, "batches")
    # Half of 5 and of 25 dollars a million, three times.
    assert (record.cost, record.charged_cost, record.model) == (Decimal("0.045"), Decimal("0.045"), "claude-opus-4-5")
    assert (record.input_tokens, record.output_tokens, record.charged_tokens) == (3000, 3000, 6000)
    assert ledger_is_exact(ann)
