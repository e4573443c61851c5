"""What a user is allowed: tiers, limits of their own, the command, pages' standings, the job."""

import importlib
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from digitalme.accounts.models import User
from digitalme.errors import InvalidRequest
from quotas import allocations, limits, policy, standing, tasks
from quotas.ledger import Amounts
from quotas.models import Allocation, Limit, Tier
from tests.quotas.conftest import NOW, granted, hold, reserve, settle


def allowed(user: User, kind: str, provider: str = "") -> tuple[int | None, int | None, Decimal | None]:
    row = Allocation.objects.filter(user=user, type=kind, provider=provider).latest("period_start")
    return row.allowed_requests, row.allowed_tokens, row.allowed_cost


def standing_of(user: User, kind: str, provider: str = "", now: datetime = NOW) -> standing.QuotaStanding:
    (found,) = [one for one in standing.standings(user, now) if (one.type, one.provider) == (kind, provider)]
    return found


def set_by_command(*arguments: str) -> str:
    out = io.StringIO()
    call_command("set_allocation", *arguments, stdout=out)
    return out.getvalue()


def test_a_newcomer_has_the_default_tier(dana: User) -> None:
    assert Tier.objects.get(is_default=True).slug == "free"
    reserve([hold(dana)])
    assert allowed(dana, "demo", "openai") == (50, None, None)
    assert allowed(dana, "daily") == (1_000, None, None)
    assert allowed(dana, "monthly") == (None, 50_000, Decimal(10))
    assert allowed(dana, "fair_use") == (1_000_000, None, None)


def test_a_default_tier_that_was_changed_is_left_alone(db: None) -> None:
    Limit.objects.filter(tier__is_default=True, type="demo").update(requests=7)
    policy.ensure_default_tier()
    assert list(Limit.objects.filter(type="demo", tier__is_default=True).values_list("requests", flat=True)) == [7]


def test_pro_and_business_are_made_once_and_left_alone_when_changed(db: None) -> None:
    migration = importlib.import_module("quotas.migrations.0004_tiers")
    Tier.objects.filter(slug__in=("pro", "business")).delete()
    for _ in range(2):
        migration.make_tiers(apps, None)
        Limit.objects.filter(tier__slug="pro", type="daily").update(requests=7)
    found = Limit.objects.filter(tier__slug__in=("pro", "business"), type="daily").order_by("requests")
    assert list(found.values_list("tier__name", "requests")) == [("Pro", 7), ("Business", 100_000)]


def test_an_own_limit_replaces_the_tiers_at_once_and_keeps_what_is_used(dana: User) -> None:
    reserve([hold(dana) for _ in range(50)])
    limits.set_allocation(actor=None, user=dana, provider="openai", type="demo", requests=51, now=NOW)
    assert granted([hold(dana), hold(dana)]) == [True, False]
    assert granted([hold(dana, provider="anthropic") for _ in range(51)]).count(True) == 50


def test_an_own_limit_holds_in_the_next_period_too(dana: User) -> None:
    limits.set_allocation(actor=None, user=dana, provider="openai", type="demo", requests=2, now=NOW)
    assert granted([hold(dana) for _ in range(3)], NOW + timedelta(days=1)) == [True, True, False]


def test_amounts_that_are_not_given_stay(dana: User) -> None:
    row = limits.set_allocation(actor=dana, user=dana, provider="", type="monthly", cost=Decimal(3), now=NOW)
    assert row
    assert (row.allowed_tokens, row.allowed_cost, row.binds) == (50_000, Decimal(3), "system")


def test_a_budget_may_bind_calls_on_own_keys(dana: User) -> None:
    limits.set_allocation(actor=None, user=dana, provider="openai", type="daily", requests=1, binds="own", now=NOW)
    assert granted([hold(dana, key_source="user"), hold(dana, key_source="user"), hold(dana)]) == [True, False, True]


def test_a_limit_for_each_provider_counts_each_by_itself(dana: User) -> None:
    assert limits.set_allocation(actor=None, user=dana, provider="*", type="daily", requests=1, now=NOW) is None
    calls = [hold(dana, provider=slug) for slug in ("openai", "openai", "anthropic")]
    assert granted(calls) == [True, False, True]


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "yearly", "requests": 1},
        {"provider": "nobody", "requests": 1},
        {"binds": "nothing", "requests": 1},
        {},
        {"requests": -1},
        {"tokens": 10**16},
        {"cost": Decimal(-1)},
        {"cost": Decimal("NaN")},
        {"cost": Decimal(10) ** 12},
    ],
)
def test_a_limit_that_there_cannot_be_is_refused(dana: User, wrong: dict[str, object]) -> None:
    before = Limit.objects.count()
    with pytest.raises(InvalidRequest):
        limits.set_allocation(**{"actor": None, "user": dana, "provider": "", "type": "daily", "now": NOW, **wrong})  # type: ignore[arg-type]
    assert Limit.objects.count() == before


def test_the_command_sets_a_limit_and_may_be_repeated(dana: User) -> None:
    arguments = (dana.email.upper(), "--provider", "openai", "--type", "daily", "--requests", "5", "--cost", "2.50")
    assert set_by_command(*arguments) == set_by_command(*arguments)
    assert allowed(dana, "daily", "openai") == (5, None, Decimal("2.5"))
    assert Limit.objects.filter(user=dana).count() == 1
    set_by_command(dana.email, "--provider", "all", "--type", "monthly", "--tokens", "9")
    assert allowed(dana, "monthly") == (None, 9, Decimal(10))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nobody@example.com", "--provider", "openai", "--type", "daily", "--requests", "5"], "no user"),
        (["dana@example.com", "--provider", "nobody", "--type", "daily", "--requests", "5"], "no provider"),
        (["dana@example.com", "--provider", "openai", "--type", "yearly", "--requests", "5"], "type"),
        (["dana@example.com", "--provider", "openai", "--type", "daily", "--requests", "many"], "whole number"),
        (["dana@example.com", "--provider", "openai", "--type", "daily", "--cost", "much"], "US dollars"),
        (["dana@example.com", "--provider", "openai", "--type", "daily"], "at least one"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(dana: User, arguments: list[str], says: str) -> None:
    with pytest.raises(CommandError, match=says) as caught:
        set_by_command(*arguments)
    assert "\n" not in str(caught.value)
    assert caught.value.returncode == 1


def test_standings_show_limits_that_nothing_used_yet(dana: User) -> None:
    demo = standing_of(dana, "demo", "openai")
    assert (demo.allowed_requests, demo.used_requests, demo.binds) == (50, 0, "system")
    assert demo.resets_at == datetime(2026, 3, 11, tzinfo=UTC)
    assert standing_of(dana, "monthly").allowed_cost == Decimal(10)
    assert not Allocation.objects.exists()


def test_standings_tell_used_and_held(dana: User) -> None:
    calls = [hold(dana), hold(dana)]
    reserve(calls)
    settle(calls[0].request_id, Amounts(1, 30, 700))
    daily = standing_of(dana, "daily")
    assert (daily.used_requests, daily.used_tokens, daily.used_cost) == (2, 130, Decimal("0.0000057"))
    assert (daily.held_requests, daily.held_tokens, daily.held_cost) == (1, 100, Decimal("0.000005"))


def test_the_job_prepares_the_next_period_of_those_who_called(dana: User) -> None:
    reserve([hold(dana)])
    midnight = datetime(2026, 3, 11, tzinfo=UTC)
    assert allocations.prepare(now=NOW, ahead=timedelta(minutes=15)) == 0
    assert allocations.prepare(now=midnight - timedelta(minutes=10), ahead=timedelta(minutes=15)) == 2
    assert Allocation.objects.filter(period_start=midnight).count() == 2
    allocations.prepare(now=midnight - timedelta(minutes=5), ahead=timedelta(minutes=15))
    assert Allocation.objects.filter(period_start=midnight).count() == 2
    assert tasks.open_periods() >= 0


@pytest.fixture
def staff(make_user: Callable[..., User]) -> Client:
    client = Client()
    client.force_login(make_user("root@example.com", is_staff=True, is_superuser=True))
    return client


def test_a_limit_changed_in_the_admin_holds_at_once(dana: User, staff: Client) -> None:
    reserve([hold(dana, provider="openai")], timezone.now())
    limit = Limit.objects.get(type="demo", tier__is_default=True)
    form = {"tier": limit.tier_id, "user": "", "provider": "*", "type": "demo", "binds": "system", "requests": "1"}
    answer = staff.post(f"/admin/quotas/limit/{limit.pk}/change/", form)
    assert answer.status_code == 302
    assert granted([hold(dana)], timezone.now()) == [False]


def test_a_limit_deleted_in_the_admin_binds_no_longer(dana: User, staff: Client) -> None:
    limits.set_allocation(actor=None, user=dana, provider="openai", type="daily", requests=0, now=timezone.now())
    assert granted([hold(dana)], timezone.now()) == [False]
    staff.post(f"/admin/quotas/limit/{Limit.objects.get(user=dana).pk}/delete/", {"post": "yes"})
    assert granted([hold(dana)], timezone.now()) == [True]


@pytest.mark.parametrize("table", ["quotas/lease", "quotas/allocation", "usage/usagerecord", "usage/hourlyusage"])
def test_nobody_adds_to_the_books_by_hand(staff: Client, table: str) -> None:
    assert staff.get(f"/admin/{table}/").status_code == 200
    assert staff.get(f"/admin/{table}/add/").status_code == 403


@pytest.mark.parametrize("table", ["quotas/tier", "quotas/limit"])
def test_tiers_and_limits_have_their_pages(staff: Client, table: str) -> None:
    assert staff.get(f"/admin/{table}/").status_code == 200
    assert staff.get(f"/admin/{table}/add/").status_code == 200
