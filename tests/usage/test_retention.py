"""How long calls are kept: what is needed stays, sums stay, and what is gone is known to be gone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from digitalme.accounts.models import User
from digitalme.audit.models import AuditEvent
from digitalme.gateway import invariant
from digitalme.statements import send
from quotas.models import Allocation
from tests.commands import run
from tests.usage.test_recorder import a_record
from usage import analytics, comparison, large_exports, recorder, retention, rollups
from usage.exports import Format, Selection
from usage.models import HourlyUsage, ReopenedHour, RollupMark, UsageRecord
from usage.reading import Wanted, Whose
from usage.recorder import Record

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
LIMIT = datetime(2025, 10, 16, tzinfo=UTC)
OLD = LIMIT - timedelta(hours=3, minutes=10)


@pytest.fixture
def dana(db: None) -> User:
    return User.objects.create_user("dana@example.com")


def calls(user: User, *times: datetime, **facts: Any) -> list[Record]:
    """Write calls that lie in no month, as those of an earlier version do."""
    made = [a_record(user_id=user.pk, timestamp=at, **{"allocations": (), **facts}) for at in times]
    with transaction.atomic():
        send(recorder.record(made, now=NOW))
    return made


def left() -> set[datetime]:
    return set(UsageRecord.objects.values_list("timestamp", flat=True))


def test_calls_that_are_old_enough_go_and_their_sums_stay(dana: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 3)
    old = [OLD + timedelta(minutes=20 * step) for step in range(9)]
    calls(dana, *old, LIMIT, NOW - timedelta(days=1), provider="openai")
    rollups.roll_up(now=NOW)
    wanted = Wanted(Whose("user_id", dana.pk), OLD.replace(minute=0), NOW)
    before = analytics.totals(wanted)
    assert retention.purge(now=NOW) == 9
    assert left() == {LIMIT, NOW - timedelta(days=1)}
    assert retention.kept_from() == LIMIT
    assert analytics.totals(wanted) == before
    assert [event.facts for event in AuditEvent.objects.filter(action="usage.purged")] == [{"count": 3}] * 3
    assert retention.purge(now=NOW) == 0


def test_calls_that_are_not_summed_up_yet_stay(dana: User) -> None:
    calls(dana, OLD, OLD + timedelta(hours=2))
    assert retention.purge(now=NOW) == 0
    RollupMark.objects.create(rolled_until=OLD + timedelta(hours=1))
    assert retention.purge(now=NOW) == 0  # the hour is not over where the sums end
    RollupMark.objects.update(rolled_until=rollups.hour_of(OLD) + timedelta(hours=1))
    ReopenedHour.objects.all().delete()
    assert retention.purge(now=NOW) == 1


def test_calls_of_an_hour_that_is_to_be_summed_up_again_stay(dana: User) -> None:
    calls(dana, OLD, OLD + timedelta(hours=2))
    rollups.roll_up(now=NOW)
    with transaction.atomic():
        send(recorder.reopen(OLD + timedelta(hours=2)))
    assert retention.purge(now=NOW) == 1
    rollups.roll_up(now=NOW)
    assert retention.purge(now=NOW) == 1


@pytest.mark.parametrize(("start", "gone"), [(None, 0), (OLD + timedelta(hours=1), 1), (LIMIT, 2)])
def test_calls_that_an_export_has_yet_to_read_stay_until_it_is_made(
    dana: User, start: datetime | None, gone: int, settings: Any, tmp_path: Any
) -> None:
    settings.DIGITALME_EXPORTS_DIR = tmp_path
    calls(dana, OLD, OLD + timedelta(hours=2))
    rollups.roll_up(now=NOW)
    wanted = Selection(user_id=dana.pk, start=start)
    export = large_exports.ask(actor=dana, team=None, wanted=wanted, form=Format.CSV, now=NOW)
    assert retention.purge(now=NOW) == gone
    while large_exports.work(export.pk, now=NOW):
        pass
    assert retention.purge(now=NOW) == 2 - gone


def test_sums_of_deleted_calls_are_never_made_anew(dana: User) -> None:
    calls(dana, OLD, OLD, LIMIT + timedelta(hours=5))
    rollups.roll_up(now=NOW)
    retention.purge(now=NOW)
    sums = list(HourlyUsage.objects.order_by("hour").values())
    # A straggler in an hour of which the other calls are gone, and a repair of everything.
    calls(dana, OLD)
    rollups.roll_up(now=NOW)
    rollups.make_anew([rollups.hour_of(OLD)])
    assert list(HourlyUsage.objects.order_by("hour").values()) == sums
    assert list(comparison.differences()) == []


@pytest.mark.django_db(transaction=True)
def test_limits_of_periods_whose_calls_are_gone_are_not_held_against_them(dana: User) -> None:
    def limit(start: datetime) -> Allocation:
        return Allocation.objects.create(
            user=dana, owner_id=dana.pk, type="daily", used_requests=1, used_tokens=30, used_cost="0.001234567",
            period_start=start, period_end=start + timedelta(days=1),
        )  # fmt: skip

    gone, kept = limit(LIMIT - timedelta(days=1)), limit(LIMIT + timedelta(days=1))
    calls(dana, OLD, allocations=(gone.pk,))
    calls(dana, LIMIT + timedelta(days=1, hours=1), allocations=(kept.pk,))
    rollups.roll_up(now=NOW)
    assert invariant.differences() == []
    assert retention.purge(now=NOW) == 1
    assert invariant.differences() == []
    UsageRecord.objects.all().delete()
    assert {one.allocation_id for one in invariant.differences()} == {kept.pk}


def test_the_days_are_the_operators_to_choose(dana: User, settings: Any) -> None:
    calls(dana, NOW - timedelta(days=63), NOW - timedelta(days=61))
    rollups.roll_up(now=NOW)
    settings.DIGITALME_USAGE_RETENTION_DAYS = 62
    assert retention.purge(now=NOW) == 1


def test_staff_narrow_the_list_of_calls_by_what_the_sums_know(dana: User, admin_client: Client) -> None:
    calls(dana, NOW - timedelta(days=1), provider="openai", model="one")
    calls(dana, NOW - timedelta(days=1), provider="anthropic", model="other")
    rollups.roll_up(now=NOW)
    page = admin_client.get("/admin/usage/usagerecord/?provider=openai").content.decode()
    assert "?provider=anthropic" in page
    assert "1 usage record" in page


def test_the_command_and_the_pages_say_what_is_kept(dana: User, admin_client: Client) -> None:
    calls(dana, OLD)
    rollups.roll_up(now=NOW)
    said = run("keep_records")
    assert said.startswith("1 calls deleted. Single calls are kept for 400 days")
    assert f"Every call since {LIMIT - timedelta(hours=3):%Y-%m-%d}" in said
    for path in ("/settings/usage/exports/", "/admin/usage/usagerecord/"):
        assert retention.sentence() in admin_client.get(path).content.decode()
