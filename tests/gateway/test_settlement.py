"""Every admitted call is settled, once, whatever way it ends."""

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from signal import SIGKILL, SIGSTOP, SIGTERM, Signals

import openai
import pytest
import requests
from django.core.management import call_command

from digitalme.gateway import invariant, settlement
from quotas.models import Allocation, Lease
from tests.fakes import FakeProvider, Manner
from tests.gateway.conftest import Person, WebProcess, command, until
from tests.gateway.test_sdks import MESSAGES, OWN_KEY, openai_client

# The web process is another one: what it is to see must be committed.
pytestmark = pytest.mark.django_db(transaction=True)

BODY = {"model": "gpt-4o-mini", "messages": MESSAGES, "stream": True}


def leases(person: Person) -> int:
    return Lease.objects.filter(user_id=person.user.id).count()


def ledger_is_exact(person: Person) -> bool:
    mine = set(Allocation.objects.filter(user=person.user).values_list("id", flat=True))
    return not [difference for difference in invariant.differences() if difference.allocation_id in mine]


@contextlib.contextmanager
def running_stream(web: WebProcess, person: Person, provider: FakeProvider):  # type: ignore[no-untyped-def]
    """A stream that delivered its first events and waits at the provider."""
    gate = threading.Event()
    provider.manner = Manner(gate=gate)
    url = web.gateway("openai", "/v1/chat/completions")
    with requests.post(url, json=BODY, headers=person.headers, stream=True, timeout=30) as answer:
        rest = answer.iter_lines()
        assert next(rest).startswith(b"data: ")
        yield answer, rest
    gate.set()


def test_a_streams_first_event_arrives_while_the_provider_still_speaks(
    web: WebProcess, provider: FakeProvider, alice: Person
) -> None:
    with running_stream(web, alice, provider) as (_, rest):
        assert leases(alice) == 1
        provider.manner.gate.set()  # type: ignore[union-attr]
        assert [line for line in rest if line][-1] == b"data: [DONE]"
    alice.record("ok")
    assert leases(alice) == 0
    assert ledger_is_exact(alice)


def test_a_client_that_leaves_pays_for_what_was_delivered(
    web: WebProcess, provider: FakeProvider, alice: Person
) -> None:
    with running_stream(web, alice, provider) as (answer, _):
        answer.close()
        record = alice.record("aborted")
    assert record.output_tokens >= 1
    assert record.input_tokens > 0
    assert record.counted_by == "estimated"
    assert record.cost
    assert leases(alice) == 0
    assert ledger_is_exact(alice)


def test_a_provider_that_breaks_off_makes_the_sdk_raise(web: WebProcess, provider: FakeProvider, alice: Person) -> None:
    provider.manner = Manner(cut_after=4)
    stream = openai_client(web, alice).chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, stream=True)
    with pytest.raises(openai.APIError, match="broke the stream off"):
        list(stream)
    record = alice.record("cut")
    assert record.output_tokens >= 4
    assert leases(alice) == 0
    assert ledger_is_exact(alice)


def test_an_error_inside_a_stream_makes_the_call_a_failed_one(
    web: WebProcess, provider: FakeProvider, alice: Person
) -> None:
    event = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n'
    provider.manner = Manner(body=event, content_type="text/event-stream")
    body = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": MESSAGES, "stream": True}
    answer = requests.post(web.gateway("anthropic", "/v1/messages"), json=body, headers=alice.headers, timeout=20)
    assert answer.content == event
    assert alice.record("failed").error_type == "overloaded_error"


def test_a_terminated_process_settles_what_runs(
    provider: FakeProvider, alice: Person, start_web: Callable[..., WebProcess]
) -> None:
    web = start_web(provider.url)
    with running_stream(web, alice, provider):
        assert web.stop(SIGTERM) in (0, -SIGTERM)
    record = alice.record("aborted")
    assert record.error_type in ("shutdown", "client_gone")
    assert leases(alice) == 0
    assert ledger_is_exact(alice)


def test_a_killed_processs_call_is_swept_and_the_ledger_exact(
    provider: FakeProvider, alice: Person, start_web: Callable[..., WebProcess]
) -> None:
    web = start_web(provider.url)
    with contextlib.suppress(requests.RequestException), running_stream(web, alice, provider):
        web.stop(SIGKILL)
    assert alice.records() == []
    assert ledger_is_exact(alice)
    assert settlement.sweep(now=datetime.now(UTC)) == 0, "a lease that still lives is left alone"
    later = datetime.now(UTC) + timedelta(minutes=2)
    assert settlement.sweep(now=later) == 1
    assert settlement.sweep(now=later) == 0
    record = alice.record("swept")
    assert record.charged_requests == 1
    assert record.charged_tokens > 0
    assert leases(alice) == 0
    assert ledger_is_exact(alice)


def test_a_frozen_processs_settlement_corrects_the_swept_record_once(
    provider: FakeProvider, alice: Person, start_web: Callable[..., WebProcess]
) -> None:
    web = start_web(provider.url)
    with running_stream(web, alice, provider) as (_, rest):
        web.process.send_signal(SIGSTOP)
        assert settlement.sweep(now=datetime.now(UTC) + timedelta(minutes=2)) == 1
        assert ledger_is_exact(alice)
        provider.manner.gate.set()  # type: ignore[union-attr]
        web.process.send_signal(Signals.SIGCONT)
        assert [line for line in rest if line][-1] == b"data: [DONE]"
    record = alice.record("ok")
    assert (record.input_tokens, record.output_tokens, record.charged_tokens) == (21, 9, 30)
    assert ledger_is_exact(alice)


def test_two_hundred_callers_on_fifty_requests_let_exactly_fifty_through(
    web: WebProcess, provider: FakeProvider, alice: Person, start_web: Callable[..., WebProcess]
) -> None:
    """Over two web processes, while the provider takes its time so that all calls are open at once."""
    command("set_allocation", alice.user.email, "--provider", "openai", "--type", "demo", "--requests", "50")
    provider.manner = Manner(delay=0.2)
    processes = [web, start_web(provider.url)]
    body = {"model": "gpt-4o-mini", "messages": MESSAGES, "max_tokens": 20}

    def call(number: int) -> int:
        url = processes[number % 2].gateway("openai", "/v1/chat/completions")
        return requests.post(url, json=body, headers=alice.headers, timeout=60).status_code

    with ThreadPoolExecutor(200) as crowd:
        answers = list(crowd.map(call, range(200)))
    assert answers.count(200) == 50
    assert answers.count(429) == 150
    assert len(provider.seen) == 50
    until(lambda: leases(alice) == 0)
    assert len(alice.records()) == 200
    assert ledger_is_exact(alice)


def test_the_ledgers_check_is_silent_when_it_is_exact_and_loud_when_not(
    web: WebProcess, alice: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    openai_client(web, alice).chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    alice.record("ok")
    assert command("check_ledger") == ""
    row = Allocation.objects.filter(user=alice.user, used_requests__gt=0)[0]
    Allocation.objects.filter(id=row.id).update(used_requests=row.used_requests + 1)
    with pytest.raises(Exception, match="1 allocations differ"):
        call_command("check_ledger")
    assert f"Allocation {row.id}: requests used is 2, but records (1) and leases (0)" in capsys.readouterr().err
    Allocation.objects.filter(id=row.id).update(used_requests=row.used_requests)


def test_the_last_use_of_token_and_key_is_kept(web: WebProcess, alice: Person) -> None:
    command("set_key", "openai", "--user", alice.user.email, stdin=OWN_KEY)
    openai_client(web, alice).chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    alice.record("ok")
    until(lambda: alice.user.access_tokens.get().last_used_at and alice.user.credentials.get().last_used_at)
