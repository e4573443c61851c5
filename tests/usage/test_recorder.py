"""Records: written once, corrected once."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from digitalme.statements import ask, send
from usage import recorder
from usage.models import ReopenedHour, UsageRecord
from usage.recorder import Record

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
ALLOCATIONS = (uuid4(), uuid4())


def a_record(**more: object) -> Record:
    facts: dict[str, object] = {
        "request_id": uuid4(),
        "user_id": uuid4(),
        "provider": "openai",
        "status": "ok",
        "timestamp": NOW,
        "cost": 1_234_567,
        "input_tokens": 21,
        "output_tokens": 9,
        "allocations": ALLOCATIONS,
        "charged_requests": 1,
        "charged_tokens": 30,
        "charged_cost": 1_234_567,
    }
    return Record(**{**facts, **more})  # type: ignore[arg-type]


def write(*records: Record) -> None:
    with transaction.atomic():
        send(recorder.record(records, now=NOW))


def test_every_fact_of_a_call_is_kept() -> None:
    full = a_record(
        team_id=uuid4(),
        token_id=uuid4(),
        credential_id=uuid4(),
        key_source="team",
        operation="chat",
        model="gpt-4o-mini",
        cached_tokens=3,
        cache_write_tokens=2,
        reasoning_tokens=4,
        measured='{"web_searches":2}',
        price_version="prices 1",
        counted_by="counted",
        error_type="none",
        http_status=200,
        response_ms=321,
        first_byte_ms=12,
        tag="it's 100 % mine; \u20ac",
    )
    write(full)
    row = UsageRecord.objects.get(request_id=full.request_id)
    for name in Record._fields:
        if name not in ("cost", "charged_cost", "allocations"):
            assert getattr(row, name) == getattr(full, name), name
    assert row.cost == row.charged_cost == Decimal("0.001234567")
    assert [UUID(one) for one in row.allocations] == list(ALLOCATIONS)


def test_a_call_without_a_known_price_has_no_cost() -> None:
    unpriced = a_record(cost=None)
    write(unpriced)
    assert UsageRecord.objects.get(request_id=unpriced.request_id).cost is None


def test_a_record_is_written_once() -> None:
    first = a_record()
    write(first)
    write(first._replace(status="failed", cost=7), a_record())
    assert UsageRecord.objects.count() == 2
    assert UsageRecord.objects.get(request_id=first.request_id).status == "ok"


def test_many_records_take_one_statement(django_assert_num_queries: Callable[..., object]) -> None:
    with transaction.atomic(), django_assert_num_queries(1):  # type: ignore[attr-defined]
        send(recorder.record([a_record() for _ in range(256)], now=NOW))
    send(recorder.record([]))
    assert UsageRecord.objects.count() == 256


def test_only_a_swept_record_is_corrected_and_only_once() -> None:
    swept, fine = a_record(status="swept", charged_tokens=100), a_record()
    write(swept, fine)
    with transaction.atomic():
        facts = ask(recorder.swept([swept.request_id, fine.request_id, uuid4()]))
        assert facts == {swept.request_id: recorder.SweptFacts(ALLOCATIONS, 1, 100, 1_234_567)}
        send(recorder.correct(swept._replace(status="ok", output_tokens=5, charged_tokens=26)))
        send(recorder.correct(fine._replace(status="failed")))
        assert ask(recorder.swept([swept.request_id])) == {}
        send(recorder.correct(swept._replace(status="failed")))
    row = UsageRecord.objects.get(request_id=swept.request_id)
    assert (row.status, row.output_tokens, row.charged_tokens) == ("ok", 5, 26)
    assert UsageRecord.objects.get(request_id=fine.request_id).status == "ok"


def test_charges_add_up_for_each_allocation() -> None:
    other = uuid4()
    write(a_record(), a_record(), a_record(allocations=(ALLOCATIONS[0], other)), a_record(allocations=()))
    assert recorder.charged_per_allocation() == {
        ALLOCATIONS[0]: (3, 90, 3 * 1_234_567),
        ALLOCATIONS[1]: (2, 60, 2 * 1_234_567),
        other: (1, 30, 1_234_567),
    }
    assert recorder.charged_per_allocation([other]) == {other: (1, 30, 1_234_567)}


def test_records_that_come_late_reopen_their_hours_and_others_do_not() -> None:
    write(*(a_record(timestamp=NOW - timedelta(minutes=minutes)) for minutes in (1, 45, 50, 200)))
    reopened = {datetime(2026, 3, 10, hour, tzinfo=UTC) for hour in (11, 9)}
    assert set(ReopenedHour.objects.values_list("hour", flat=True)) == reopened
