"""Pricing again: the record follows, limits follow while they run, everything adds up, and twice is once."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management.base import CommandError
from django.db import transaction

from digitalme.accounts.models import User
from digitalme.audit.models import AuditEvent
from digitalme.gateway import invariant
from digitalme.statements import send
from providers import price_rows
from providers.models import ModelPrice
from quotas.models import Allocation
from tests.commands import run
from tests.usage.test_recorder import a_record
from usage import analytics, recorder, rollups
from usage.models import UsageRecord
from usage.reading import Wanted

pytestmark = pytest.mark.django_db
NOW = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
DAY = f"{NOW:%Y-%m-%d}"


@pytest.fixture
def dana(db: None) -> User:
    return User.objects.create_user("dana@example.com")


def limit(user: User, type_: str, ends: datetime, used: str) -> Allocation:
    return Allocation.objects.create(
        user=user,
        owner_id=user.pk,
        type=type_,
        binds="own",
        used_cost=Decimal(used),
        period_start=NOW - timedelta(days=20),
        period_end=ends,
    )


def call(user: User, *limits: Allocation, **facts: Any) -> UsageRecord:
    given: dict[str, Any] = {
        "user_id": user.pk,
        "model": "house-llm",
        "key_source": "user",
        "operation": "chat",
        "timestamp": NOW,
        "input_tokens": 1_000_000,
        "output_tokens": 0,
        "cost": None,
        "charged_cost": 0,
        "charged_requests": 0,
        "charged_tokens": 0,
        "allocations": tuple(one.pk for one in limits),
    }
    one = a_record(**{**given, **facts})
    with transaction.atomic():
        send(recorder.record([one], now=NOW))
    return UsageRecord.objects.get(pk=one.request_id)


def enter(rate: str, day: date = date(2026, 1, 1)) -> ModelPrice:
    row = ModelPrice(provider="openai", model="house-llm", valid_from=day, input=Decimal(rate), output=Decimal(rate))
    price_rows.add(row)
    return row


def reprice(*more: str) -> str:
    return run("reprice", "--from", DAY, "--to", DAY, *more)


def facts_of(record: UsageRecord) -> tuple[Any, Any]:
    record.refresh_from_db()
    return record.cost, record.charged_cost


@pytest.mark.django_db(transaction=True)  # the ledger is looked at in a snapshot of its own
def test_calls_without_a_price_get_the_one_that_was_entered(dana: User) -> None:
    running = limit(dana, "monthly_budget", NOW + timedelta(days=9), "0")
    over = limit(dana, "daily_budget", NOW - timedelta(days=1), "0")
    counted, history = call(dana, running, over), call(dana, over)
    elsewhere, refused = call(dana, running, timestamp=NOW - timedelta(days=2)), call(dana, status="refused", cost=0)
    rollups.roll_up(now=NOW + timedelta(hours=2))
    row = enter("2")
    assert reprice("--dry-run") == (
        "2 calls looked at; the cost of 2 would change, by +4.000000000 US dollars in all; what limits were charged "
        "would change for 1.\n"
    )
    assert facts_of(counted) == (None, 0)
    assert "changed, by +4.000000000" in reprice("--provider", "openai", "--model", "house-llm")
    # The charge stays the same on all limits of a call, and of periods that are all over it is history.
    assert (facts_of(counted), facts_of(history)) == ((Decimal(2), Decimal(2)), (Decimal(2), Decimal(0)))
    assert counted.price_version == f"house {row.pk} of 2026-01-01"
    assert (facts_of(elsewhere), facts_of(refused)) == ((None, 0), (0, 0))
    assert list(Allocation.objects.order_by("type").values_list("used_cost", flat=True)) == [2, 2]
    assert invariant.differences() == []
    event = AuditEvent.objects.get(action="usage.repriced")
    assert (event.facts["count"], event.facts["cost"]) == (2, "4")
    assert reprice().startswith("0 calls looked at; the cost of 0 changed")
    rollups.roll_up(now=NOW + timedelta(hours=2))
    span = (NOW - timedelta(hours=1), NOW + timedelta(hours=1))
    summed = analytics.totals(Wanted(analytics.of_user(dana), *span))
    assert (summed.cost, summed.unpriced) == (Decimal(4), 0)


@pytest.mark.django_db(transaction=True)  # the ledger is looked at in a snapshot of its own
def test_all_calls_are_priced_anew_and_the_houses_keys_never_charge_more(dana: User) -> None:
    running = limit(dana, "monthly", NOW + timedelta(days=9), "9")
    charged = {"cost": 3 * 10**9, "charged_cost": 3 * 10**9, "price_version": "old"}
    system, own = call(dana, running, key_source="system", **charged), call(dana, running, **charged)
    told = call(dana, running, **{**charged, "price_version": "provider"})
    enter("5")
    assert reprice().startswith("0 calls")
    reprice("--all")
    assert [facts_of(one) for one in (system, own, told)] == [(5, 3), (5, 5), (3, 3)]
    assert invariant.differences() == []
    enter("1", date(2026, 1, 2))
    reprice("--all")
    assert [facts_of(one) for one in (system, own, told)] == [(1, 1), (1, 1), (3, 3)]
    assert Allocation.objects.get().used_cost == 5
    assert invariant.differences() == []


def test_what_a_price_depends_on_beside_the_counts_is_kept_and_used(dana: User) -> None:
    facts = {"model": "claude-opus-4-5", "provider": "anthropic", "input_tokens": 1000, "output_tokens": 1000}
    searched = call(dana, measured='{"web_searches":2}', **facts)
    captcha = call(dana, provider="twocaptcha", operation="createTask", model="", cost=10**6, input_tokens=0)
    reprice("--all")
    assert facts_of(searched)[0] == Decimal("0.05")
    assert facts_of(captcha)[0] == Decimal("0.001")


def test_what_is_still_unknown_is_named(dana: User) -> None:
    record = call(dana)
    gone = call(dana, provider="gone", cost=5)
    assert "No price is known of openai 'house-llm'." in reprice("--all")
    assert (facts_of(record)[0], facts_of(gone)[0]) == (None, Decimal("0.000000005"))


def test_many_calls_are_priced_batch_by_batch(dana: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("digitalme.gateway.repricing.AT_ONCE", 3)
    made = [call(dana, timestamp=NOW + timedelta(minutes=25 * index)).pk for index in range(8)]
    rollups.roll_up(now=NOW + timedelta(hours=9))
    enter("2")
    assert reprice().startswith("8 calls looked at; the cost of 8 changed")
    assert set(UsageRecord.objects.filter(pk__in=made).values_list("cost", flat=True)) == {Decimal(2)}
    rollups.roll_up(now=NOW + timedelta(hours=9))
    span = (NOW, NOW + timedelta(hours=4))
    assert analytics.totals(Wanted(analytics.of_user(dana), *span)).cost == 16, "every hour is summed up again"


@pytest.mark.parametrize("days", [("yesterday", DAY), (DAY, "2026-02-30")])
def test_days_that_are_none_are_refused(days: tuple[str, str]) -> None:
    with pytest.raises(CommandError):
        run("reprice", "--from", days[0], "--to", days[1])
