"""Exact money, time-ordered ids, parameters of hand-written SQL."""

import time
import uuid
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from digitalme import database
from quotas.models import Limit, Tier

AMOUNTS = st.integers(min_value=-(10**17), max_value=10**17)


@given(AMOUNTS)
def test_money_survives_both_ways(nano: int) -> None:
    assert database.to_nano(database.from_nano(nano)) == nano


@pytest.mark.parametrize(
    ("amount", "nano"), [("0", 0), ("1", 10**9), ("0.0000000005", 0), ("0.0000000015", 2), ("-0.000000001", -1)]
)
def test_money_rounds_half_to_even(amount: str, nano: int) -> None:
    assert database.to_nano(Decimal(amount)) == nano


def test_a_money_column_is_exact_and_adds_up(db: None) -> None:
    tier = Tier.objects.create(slug="exact", name="Exact")
    limit = Limit.objects.create(tier=tier, type="daily", cost=Decimal("0.1"))
    Limit.objects.filter(pk=limit.pk).update(cost=Decimal("0.1") + Decimal("0.2"))
    limit.refresh_from_db()
    assert limit.cost == Decimal("0.300000000")
    with connection.cursor() as cursor:
        cursor.execute("SELECT cost FROM quotas_limit WHERE id = %s", [limit.pk])
        assert cursor.fetchone() == (300_000_000,)


def test_a_money_column_may_be_empty(db: None) -> None:
    tier = Tier.objects.create(slug="open", name="Open")
    limit = Limit.objects.create(tier=tier, type="daily", cost=None)
    limit.refresh_from_db()
    assert limit.cost is None


def test_ids_are_version_seven_and_in_the_order_of_time() -> None:
    ids = [database.uuid7(milliseconds) for milliseconds in (1, 2, 1_790_000_000_000)]
    assert ids == sorted(ids)
    assert {(one.version, one.variant) for one in ids} == {(7, uuid.RFC_4122)}
    assert ids[2].int >> 80 == 1_790_000_000_000


def test_ids_of_one_moment_differ() -> None:
    assert len({database.uuid7(5) for _ in range(1000)}) == 1000


def test_an_id_carries_the_present_time() -> None:
    before = time.time_ns() // 1_000_000
    assert before <= database.uuid7().int >> 80 <= time.time_ns() // 1_000_000


def test_parameters_find_rows_written_by_the_models(db: None) -> None:
    from digitalme.accounts.models import User

    user = User.objects.create_user("alice@example.com")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, date_joined FROM accounts_user WHERE id = %s AND date_joined = %s",
            database.parameters([user.pk, user.date_joined]),
        )
        found = cursor.fetchone()
    assert (database.as_uuid(found[0]), database.as_time(found[1])) == (user.pk, user.date_joined)


def test_times_of_another_zone_are_the_same_moment(db: None) -> None:
    moment = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    [parameter] = database.parameters([moment])
    assert database.as_time(parameter) == moment


def test_a_time_without_zone_is_read_as_utc() -> None:
    assert database.as_time("2026-03-01 12:00:00") == datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_nothing_stays_nothing() -> None:
    assert (database.as_uuid(None), database.as_time(None)) == (None, None)


def test_an_empty_in_list_matches_nothing(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT 1 WHERE 1 IN ({database.placeholders(0)})")
        assert cursor.fetchone() is None


def test_rows_are_written_out_and_flattened() -> None:
    assert database.rows_of_placeholders(2, 3) == "(%s, %s, %s), (%s, %s, %s)"
    assert database.flatten([(1, 2), (3, 4)]) == [1, 2, 3, 4]
