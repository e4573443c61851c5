"""/api/v1/usage/: records, sums and days of the caller's own calls."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from digitalme.accounts.models import User
from tests.api.conftest import record_of

RECORDS, SUMMARY, SERIES = "/api/v1/usage/records/", "/api/v1/usage/summary/", "/api/v1/usage/series/"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
CONTRACT = {
    "request_id",
    "timestamp",
    "provider",
    "model",
    "key_source",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cost",
    "status",
    "error_type",
    "response_ms",
    "tag",
    "unpriced",
}


def test_a_record_tells_what_the_call_was_and_cost(alice: User, alice_program: Client) -> None:
    record = record_of(
        alice,
        model="gpt-4o-mini",
        key_source="user",
        input_tokens=21,
        output_tokens=9,
        cached_tokens=5,
        reasoning_tokens=3,
        cost=Decimal("0.000012500"),
        response_ms=420,
        tag="nightly",
    )
    told = alice_program.get(f"{RECORDS}{record.request_id}/").json()
    assert set(told) >= CONTRACT
    assert (told["request_id"], told["timestamp"]) == (str(record.request_id), "2026-11-20T12:00:00Z")
    assert (told["cost"], told["unpriced"]) == ("0.000012500", False)
    assert (told["input_tokens"], told["cached_tokens"], told["reasoning_tokens"]) == (21, 5, 3)
    assert not set(told) & {"user_id", "credential_id", "allocations", "charged_cost"}


def test_an_unpriced_call_costs_null_not_nothing(alice: User, alice_program: Client) -> None:
    record = record_of(alice, model="new-model", cost=None)
    told = alice_program.get(f"{RECORDS}{record.request_id}/").json()
    assert (told["cost"], told["unpriced"]) == (None, True)


def test_times_are_utc_whatever_the_readers_zone(alice: User, alice_client: Client) -> None:
    User.objects.filter(pk=alice.pk).update(time_zone="Asia/Tokyo")
    record_of(alice)
    assert alice_client.get(RECORDS).json()["results"][0]["timestamp"] == "2026-11-20T12:00:00Z"


def test_somebody_elses_record_does_not_exist(alice: User, charlie_program: Client) -> None:
    record = record_of(alice)
    assert charlie_program.get(f"{RECORDS}{record.request_id}/").status_code == 404
    assert charlie_program.get(f"{RECORDS}{uuid.uuid4()}/").status_code == 404
    assert charlie_program.get(RECORDS).json()["results"] == []
    assert charlie_program.get(f"{RECORDS}?user_id={alice.pk}&user={alice.pk}").json()["results"] == []


def test_pages_hold_every_record_once_newest_first(alice: User, alice_program: Client) -> None:
    made = [record_of(alice, timestamp=NOON + timedelta(seconds=index // 3)) for index in range(10)]
    seen: list[dict[str, Any]] = []
    address = f"{RECORDS}?page_size=3"
    while address:
        page = alice_program.get(address).json()
        seen, address = seen + page["results"], page["next"]
    assert {one["request_id"] for one in seen} == {str(record.request_id) for record in made}
    assert len(seen) == 10
    assert [one["timestamp"] for one in seen] == sorted((one["timestamp"] for one in seen), reverse=True)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("provider=openai", 2),
        ("provider=anthropic", 1),
        ("model=gpt-4o", 1),
        ("status=failed", 1),
        ("key_source=user", 1),
        ("tag=nightly", 1),
        ("from=2026-11-20", 2),
        ("to=2026-11-20", 2),
        ("from=2026-11-19T00:00:00Z&to=2026-11-20T12:00:00Z", 1),
        ("from=2026-11-20T12:00:00Z", 2),
        ("from=2026-11-20T13:00:00+01:00", 2),
        ("provider=&tag=", 3),
        ("provider=nobody", 0),
    ],
)
def test_filters(alice: User, alice_program: Client, query: str, count: int) -> None:
    record_of(alice, model="gpt-4o", key_source="user", timestamp=NOON - timedelta(days=1))
    record_of(alice, provider="anthropic", status="failed")
    record_of(alice, tag="nightly", timestamp=NOON + timedelta(days=1))
    assert len(alice_program.get(f"{RECORDS}?{query}").json()["results"]) == count


def test_a_day_is_one_of_the_callers_zone(alice: User, alice_program: Client) -> None:
    User.objects.filter(pk=alice.pk).update(time_zone="Pacific/Auckland")
    record_of(alice, timestamp=datetime(2026, 11, 20, 12, tzinfo=UTC))  # the 21st there
    assert len(alice_program.get(f"{RECORDS}?from=2026-11-21&to=2026-11-21").json()["results"]) == 1
    assert alice_program.get(f"{RECORDS}?from=2026-11-20&to=2026-11-20").json()["results"] == []


@pytest.mark.parametrize("path", [RECORDS, SUMMARY, SERIES])
@pytest.mark.parametrize(
    "query",
    [
        "from=yesterday",
        "from=2026-13-01",
        "to=9999-12-31",
        "from=0001-01-01T00:00:00%2B14:00",
        "from=2026-11-20&to=2026-11-19",
        "from=1900-01-01&to=2026-01-01",
        "from=%00",
        "provider=%00",
        "provider=" + "x" * 65,
    ],
)
def test_an_odd_question_is_400(alice_program: Client, path: str, query: str) -> None:
    assert alice_program.get(f"{path}?{query}").status_code == 400


@pytest.mark.parametrize("cursor", ["x", "cD14", "cj0xJnA9NDg3", "bz0tMQ==", "cD05OTk5LTk5LTk5", "%00", "cD0lMDA="])
def test_a_made_up_cursor_is_no_fault(alice: User, alice_program: Client, cursor: str) -> None:
    record_of(alice)
    assert alice_program.get(f"{RECORDS}?cursor={cursor}").status_code in {200, 404}


@pytest.mark.parametrize("query", ["status=odd", "key_source=odd"])
def test_an_odd_choice_is_400(alice_program: Client, query: str) -> None:
    assert alice_program.get(f"{RECORDS}?{query}").status_code == 400


@pytest.mark.parametrize("size", ["0", "-1", "x", "1000000"])
def test_an_odd_page_size_has_no_effect(alice: User, alice_program: Client, size: str) -> None:
    record_of(alice)
    assert len(alice_program.get(f"{RECORDS}?page_size={size}").json()["results"]) == 1


def test_the_summary_adds_up(alice: User, bob: User, alice_program: Client) -> None:
    now = timezone.now()
    record_of(alice, timestamp=now, input_tokens=10, output_tokens=5, cost=Decimal("0.25"), response_ms=100)
    record_of(alice, timestamp=now, provider="anthropic", cost=None, status="failed", response_ms=300)
    record_of(alice, timestamp=now, status="refused", cost=Decimal(0))
    record_of(alice, timestamp=now - timedelta(days=60), cost=Decimal(100))
    record_of(bob, timestamp=now, cost=Decimal(100))
    told = alice_program.get(SUMMARY).json()
    assert (told["requests"], told["failed"], told["refused"], told["unpriced"]) == (2, 1, 1, 1)
    assert (told["cost"], told["total_tokens"], told["average_response_ms"]) == ("0.250000000", 15, 200)
    assert [one["provider"] for one in told["by_provider"]] == ["openai", "anthropic"]
    assert alice_program.get(f"{SUMMARY}?provider=anthropic").json()["requests"] == 1
    assert alice_program.get(f"{SUMMARY}?from=2020-01-01").json()["cost"] == "100.250000000"


def test_the_series_has_a_point_for_each_day_and_provider(alice: User, alice_program: Client) -> None:
    record_of(alice, cost=Decimal("0.25"))
    record_of(alice, cost=Decimal("0.50"))
    record_of(alice, provider="anthropic", timestamp=NOON - timedelta(days=1))
    told = alice_program.get(f"{SERIES}?from=2026-11-01&to=2026-11-30").json()
    assert [(one["day"], one["provider"], one["requests"]) for one in told] == [
        ("2026-11-19", "anthropic", 1),
        ("2026-11-20", "openai", 2),
    ]
    assert told[1]["cost"] == "0.750000000"


def test_without_calls_the_sums_are_nothing(alice_program: Client) -> None:
    assert alice_program.get(SUMMARY).json()["cost"] == "0.000000000"
    assert alice_program.get(SERIES).json() == []


def test_a_page_costs_three_queries_however_long(
    alice: User, alice_program: Client, django_assert_num_queries: Any
) -> None:
    for _ in range(60):
        record_of(alice)
    alice_program.get(RECORDS)
    with django_assert_num_queries(3):  # the token, its user, the records
        assert len(alice_program.get(RECORDS).json()["results"]) == 50
