"""/api/v1/usage/export/: the caller's calls as a file."""

import csv
import io
import json
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from digitalme.accounts.models import Team, User
from tests.api.conftest import by_token, record_of
from tests.api.test_usage import NOON

pytestmark = pytest.mark.django_db
EXPORT = "/api/v1/usage/export/"
CONTRACT = [
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
]


def rows(answer: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.getvalue().decode(), newline="")))


def test_a_file_has_a_row_a_call_with_the_contracts_columns(alice: User, bob: User, alice_program: Client) -> None:
    record = record_of(alice, model="gpt-4o-mini", cost=Decimal("0.000012500"), tag="=1+1", response_ms=420)
    record_of(alice, cost=None, timestamp=NOON + timedelta(seconds=1))
    record_of(bob)
    answer = alice_program.get(EXPORT)
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="digitalme-usage.csv"'
    first, second = rows(answer)
    assert list(first) == CONTRACT
    assert (first["request_id"], first["timestamp"]) == (str(record.request_id), "2026-11-20T12:00:00Z")
    assert (first["cost"], first["tag"], first["response_ms"]) == ("0.000012500", "'=1+1", "420")
    assert (second["cost"], second["response_ms"]) == ("", "")


@pytest.mark.parametrize(
    ("form", "media_type"), [("csv", "text/csv"), ("json", "application/json"), ("jsonl", "application/jsonl")]
)
def test_the_format_is_what_the_address_says_whatever_is_accepted(
    alice: User, alice_program: Client, form: str, media_type: str
) -> None:
    record_of(alice, tag="=1+1")
    answer = alice_program.get(f"{EXPORT}?format={form}", headers={"Accept": "text/html"})
    assert answer.headers["Content-Type"].startswith(media_type)
    assert answer.headers["Content-Disposition"].endswith(f'digitalme-usage.{form}"')
    if form != "csv":
        told = json.loads(answer.getvalue())
        assert list(told[0] if form == "json" else told) == CONTRACT
        assert "'" not in str((told[0] if form == "json" else told)["tag"])


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("from=&to=&provider=&team=", 3),
        ("from=2026-11-20&to=2026-11-20", 1),
        ("provider=anthropic", 1),
        ("model=gpt-4o&key_source=user&status=failed&tag=nightly", 1),
        (f"token={uuid4()}", 0),
    ],
)
def test_filters(alice: User, alice_program: Client, query: str, count: int) -> None:
    facts = {"model": "gpt-4o", "key_source": "user", "status": "failed", "tag": "nightly"}
    record_of(alice, timestamp=NOON - timedelta(days=1), **facts)
    record_of(alice, provider="anthropic")
    record_of(alice, timestamp=NOON + timedelta(days=1))
    assert len(rows(alice_program.get(f"{EXPORT}?{query}"))) == count


def test_one_token_of_several_can_be_looked_at(alice: User, alice_program: Client) -> None:
    token = uuid4()
    record_of(alice, token_id=token)
    record_of(alice)
    assert len(rows(alice_program.get(f"{EXPORT}?token={token}"))) == 1
    assert len(alice_program.get(f"/api/v1/usage/records/?token={token}").json()["results"]) == 1


@pytest.mark.parametrize(
    "query", ["format=xml", "status=odd", "from=yesterday", "to=2026-01-01&from=2026-01-02", "token=x"]
)
def test_an_odd_question_is_a_problem_document(alice_program: Client, query: str) -> None:
    answer = alice_program.get(f"{EXPORT}?{query}", headers={"Accept": "text/csv"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/problem+json")


def test_who_looks_after_a_team_gets_its_calls_and_nobody_else_does(
    alice: User, bob: User, charlie: User, team: Team
) -> None:
    record_of(bob, team_id=team.pk, tag="bobs")
    record_of(bob, tag="private")
    address = f"{EXPORT}?team={team.slug}"
    assert [one["tag"] for one in rows(by_token(alice).get(address))] == ["bobs"]
    assert by_token(bob).get(address).status_code == 403
    assert by_token(charlie).get(address).status_code == 404
