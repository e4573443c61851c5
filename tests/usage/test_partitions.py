"""The months of records on PostgreSQL: made ahead, filled from the rest, dropped whole; every call has a place."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from digitalme.accounts.models import User
from digitalme.database import on_sqlite, uuid7
from digitalme.statements import send
from tests.usage.test_recorder import a_record
from usage import partitions, recorder, retention, rollups, tasks
from usage.models import ReopenedHour, UsageRecord
from usage.partitions import Month
from usage.sums import fetch

NOW = datetime(2031, 1, 20, 9, 30, tzinfo=UTC)


def an_id(moment: datetime) -> UUID:
    return uuid7(int(moment.timestamp() * 1000))


def write(*times: datetime, **facts: Any) -> list[UUID]:
    made = [a_record(request_id=an_id(at), timestamp=at, allocations=(), **facts) for at in times]
    with transaction.atomic():
        send(recorder.record(made, now=NOW))
    return [one.request_id for one in made]


def place_of(request_id: UUID) -> str:
    rows = fetch("SELECT tableoid::regclass::text FROM usage_usagerecord WHERE request_id = %s", [request_id])
    return str(rows[0][0]) if len(rows) == 1 else f"{len(rows)} rows"


@pytest.fixture
def months(db: None) -> None:
    if on_sqlite():
        pytest.skip("SQLite keeps calls in one table")
    partitions.make_ahead(now=NOW)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1)))
@pytest.mark.once
def test_ids_lie_in_the_month_in_which_they_were_made(moment: datetime) -> None:
    at = moment.replace(tzinfo=UTC)
    month = Month.of(at)
    assert month.start <= at < month.end
    assert partitions.first_id(month.start) <= an_id(at) < partitions.first_id(month.end)


@pytest.mark.django_db
def test_an_embedded_database_has_no_months() -> None:
    if on_sqlite():
        assert (partitions.make_ahead(now=NOW), partitions.there()) == ([], [])


@pytest.mark.usefixtures("months")
def test_months_are_made_ahead_once_each() -> None:
    ahead = [Month(2031, 1), Month(2031, 2), Month(2031, 3), Month(2031, 4)]
    assert partitions.there()[-4:] == ahead
    assert Month.of(datetime.now(UTC)) in partitions.there(), "migrating makes those that are needed at once"
    assert partitions.make_ahead(now=NOW) == []
    assert partitions.make_ahead(now=NOW + timedelta(days=40)) == [Month(2031, 5), Month(2031, 6)]
    assert not partitions.make(Month(2031, 5))


@pytest.mark.usefixtures("months")
def test_a_call_lies_in_its_month_and_its_id_is_there_once() -> None:
    (one,) = write(NOW)
    assert place_of(one) == "usage_usagerecord_2031_01"
    again = a_record(request_id=one, timestamp=NOW + timedelta(days=90), status="failed")
    with transaction.atomic():
        send(recorder.record([again], now=NOW))
    record = UsageRecord.objects.get()
    assert (record.status, record.timestamp) == ("ok", NOW)


@pytest.mark.usefixtures("months")
def test_calls_for_which_there_was_no_month_are_fetched_when_it_is_made() -> None:
    late = datetime(2031, 7, 1, tzinfo=UTC)
    before, at, strange = *write(late - timedelta(milliseconds=1), late), uuid4()
    with transaction.atomic():
        send(recorder.record([a_record(request_id=strange, timestamp=late)], now=NOW))
    assert {place_of(one) for one in (before, at, strange)} == {partitions.REST}
    assert partitions.make_ahead(now=late)[0] == Month(2031, 7)
    assert [place_of(one) for one in (before, at)] == [partitions.REST, "usage_usagerecord_2031_07"]
    assert UsageRecord.objects.count() == 3


@pytest.mark.usefixtures("months")
def test_a_month_goes_whole_once_its_last_day_is_old_enough() -> None:
    february = datetime(2031, 2, 1, tzinfo=UTC)
    days = [datetime(2031, 1, 1, tzinfo=UTC), february - timedelta(minutes=1), february]
    write(*days)
    enough = february + timedelta(days=400)
    assert retention.purge(now=enough) == 0, "nothing is summed up yet"
    rollups.roll_up(now=enough)
    assert retention.purge(now=enough - timedelta(minutes=1)) == 0
    assert retention.purge(now=enough) == 2
    assert UsageRecord.objects.get().timestamp == days[-1]
    assert partitions.there()[0] == Month(2031, 2), "months without calls go too"
    assert retention.kept_from() == days[-1]


@pytest.mark.usefixtures("months")
def test_a_month_stays_while_one_of_its_hours_is_to_be_summed_up_again() -> None:
    write(NOW - timedelta(days=3), NOW)
    later = NOW + timedelta(days=450)
    rollups.roll_up(now=later)
    ReopenedHour.objects.create(hour=rollups.hour_of(NOW))
    assert retention.purge(now=later) == 0
    ReopenedHour.objects.all().delete()
    assert retention.purge(now=later) == 2


@pytest.mark.usefixtures("months")
def test_dividing_the_one_table_keeps_every_call_index_and_rule(alice: User) -> None:
    """What the migration does to the table of an earlier version."""

    def shape() -> set[Any]:
        return {
            row
            for query in (
                "SELECT attname, atttypid, attnotnull FROM pg_attribute"
                " WHERE attrelid = to_regclass(%s) AND attnum > 0",
                "SELECT conname, contype::text FROM pg_constraint WHERE conrelid = to_regclass(%s) AND contype <> 'n'",
                "SELECT indexname FROM pg_indexes WHERE tablename = %s",
            )
            for row in fetch(query, [partitions.TABLE])
        }

    before = shape()
    old, now = datetime(2026, 5, 5, tzinfo=UTC), datetime(2026, 8, 8, tzinfo=UTC)
    ids = [*write(old, now, user_id=alice.pk), uuid4()]
    with transaction.atomic():
        send(recorder.record([a_record(request_id=ids[-1], timestamp=now)], now=now))
    kept = list(UsageRecord.objects.order_by("pk").values())
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE earlier (LIKE usage_usagerecord INCLUDING ALL)")
        cursor.execute("INSERT INTO earlier SELECT * FROM usage_usagerecord")
        cursor.execute("DROP TABLE usage_usagerecord")
        cursor.execute("ALTER TABLE earlier RENAME TO usage_usagerecord")
    partitions.divide(now=now)
    assert [place_of(one).removeprefix(partitions.TABLE) for one in ids] == ["_2026_05", "_2026_08", "_rest"]
    assert partitions.there() == [Month(2026, number) for number in range(5, 12)]
    assert list(UsageRecord.objects.order_by("pk").values()) == kept
    assert shape() == before


@pytest.mark.django_db
def test_the_hourly_job_may_run_twice() -> None:
    assert [tasks.keep_records(), tasks.keep_records()] == [0, 0]
