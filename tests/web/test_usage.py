"""/settings/usage/: numbers, limits, chart, latest calls."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from digitalme.accounts import tokens
from digitalme.accounts.models import Team, User
from digitalme.web.limits import AT_A_GLANCE
from quotas.models import Adjustment, Allocation, Limit, Raise, Tier
from tests.web.conftest import add_call
from usage import rollups
from usage.models import UsageRecord

pytestmark = pytest.mark.django_db
PAGE = "/settings/usage/"


def test_a_newcomer_sees_limits_and_what_will_be_here(alice_client: Client) -> None:
    text = alice_client.get(PAGE).content.decode()
    assert "No calls yet" in text
    assert "Nothing to draw yet" in text
    limits = alice_client.get("/settings/usage/limits/").content.decode()
    assert "Demo OpenAI requests today" in limits
    assert "0 of 50" in limits


def test_the_limits_nearest_to_their_end_are_fetched_into_the_page(alice_client: Client) -> None:
    path = "/settings/usage/limits/glance/"
    assert path in alice_client.get(PAGE).content.decode()
    text = alice_client.get(path, headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in text
    assert text.count("<progress") == AT_A_GLANCE
    assert "more stand on the" in text
    assert alice_client.get(path).headers["Location"] == "/settings/usage/limits/"


def test_it_sums_up_today(alice_client: Client, alice: User) -> None:
    add_call(alice)
    add_call(alice, cost=None, model="somethings-new")
    text = alice_client.get(PAGE).content.decode()
    assert "<dt>Calls today</dt><dd>2</dd>" in text
    assert "<dt>Tokens today</dt><dd>3,000</dd>" in text
    assert "$0.42" in text
    assert "1 unpriced" in text


def test_it_lists_the_latest_calls(alice_client: Client, alice: User) -> None:
    add_call(alice, status=UsageRecord.Status.REFUSED, key_source="user", provider="anthropic", model="claude-x")
    text = alice_client.get(PAGE).content.decode()
    assert "claude-x" in text
    assert "your key" in text
    assert "Refused" in text


def test_it_draws_the_cost_of_each_provider(alice_client: Client, alice: User) -> None:
    add_call(alice, cost=Decimal("2.5"))
    add_call(alice, cost=Decimal("1.5"), provider="anthropic", at=timezone.now() - timedelta(days=3))
    add_call(alice, cost=Decimal(2), at=timezone.now() - timedelta(days=33))
    text = alice_client.get(PAGE).content.decode()
    for title, pictures in (("Cost", 2), ("Tokens", 1), ("Calls and errors", 1), ("Response time", 1)):
        assert text.count(f'role="img" aria-label="{title}, the last 30 days"') == pictures
    assert "OpenAI, " in text
    assert text.count("Show the numbers as a table") == 4
    assert "$2.50" in text
    assert "$1.50" in text
    assert "↑ 100\u00a0% more than in the 30 days before" in text


def test_range_provider_and_what_bars_are_made_of_are_chosen_by_the_address(alice_client: Client, alice: User) -> None:
    now = timezone.now()
    add_call(alice, cost=Decimal("2.5"), model="gpt-a", at=now)
    add_call(alice, cost=Decimal("1.25"), provider="anthropic", model="claude-b", at=now - timedelta(days=3))
    add_call(alice, status=UsageRecord.Status.FAILED, cost=0, at=now - timedelta(days=60))
    htmx = {"HX-Request": "true", "HX-Target": "course"}
    part = alice_client.get(PAGE, {"range": "7", "by": "model", "provider": "openai"}, headers=htmx).content.decode()
    assert "<html" not in part
    assert '<option value="openai" selected>' in part
    assert "gpt-a, " in part
    assert "claude-b" not in part
    assert "<dd>$2.50</dd>" in part
    today = alice_client.get(PAGE, {"range": "today"}).content.decode()
    assert "Cost, today by the hour" in today
    assert "<dd>$2.50</dd>" in today
    long = alice_client.get(PAGE, {"range": "90"}).content.decode()
    assert "Failed, " in long
    assert "<dd>$3.75</dd>" in long
    usual = alice_client.get(PAGE, {"range": "x", "by": "user_id", "provider": "'; --"}).content.decode()
    assert "Cost, the last 30 days" in usual


def test_a_model_name_with_html_stays_text(alice_client: Client, alice: User) -> None:
    add_call(alice, model="<script>alert(1)</script>")
    assert "<script>alert" not in alice_client.get(PAGE).content.decode()


def test_others_calls_are_not_shown(charlie_client: Client, alice: User) -> None:
    add_call(alice, model="alices-model")
    text = charlie_client.get(PAGE).content.decode()
    assert "alices-model" not in text
    assert "No calls yet" in text


@pytest.fixture
def busy(alice: User, team: Team) -> User:
    """Somebody with calls to several providers, rolled up and not, budgets, a raise, a team's keys and a tier."""
    now = timezone.now()
    for provider in ("openai", "anthropic", "slack"):
        for days in (40, 20, 2, 0):
            add_call(alice, provider=provider, team_id=team.pk, at=now - timedelta(days=days, minutes=1))
        budget = {"type": "monthly_budget", "binds": "own", "cost": 5}
        Limit.objects.create(user=alice, provider=provider, **budget)
    token, _ = tokens.issue(user=alice, name="nightly")
    Limit.objects.create(token=token, type="daily", requests=10)
    Raise.objects.create(
        user=alice,
        type="daily",
        state="granted",
        extra_requests=5,
        starts_at=now,
        ends_at=now + timedelta(days=2),
        created_at=now,
    )
    User.objects.filter(pk=alice.pk).update(tier=Tier.objects.create(slug="pro-x", name="Pro"))
    Adjustment.objects.create(user=alice, percent=110, reasons=[[10, "Payments arrive."]])
    rollups.roll_up(now=now)
    return alice


PAGES = [
    PAGE,
    f"{PAGE}?range=today",
    f"{PAGE}?range=90&by=model&provider=openai",
    *(f"{PAGE}{more}/" for more in ("limits", "limits/glance", "budgets", "exports")),
]
API = [f"/api/v1/{name}/" for name in ("quotas", "usage/summary", "usage/series", "usage/records")]


@pytest.mark.parametrize("path", [*PAGES, *API])
def test_every_page_takes_fewer_than_ten_queries_however_much_there_is_to_tell(
    alice_client: Client, busy: User, path: str, django_assert_max_num_queries: Any
) -> None:
    headers = {"HX-Request": "true"} if "glance" in path else {}
    with django_assert_max_num_queries(9):
        assert alice_client.get(path, headers=headers).status_code == 200


def test_a_bar_says_what_was_carried_over_and_how_the_limit_bends(alice_client: Client, alice: User) -> None:
    now = timezone.now()
    Allocation.objects.create(
        user=alice,
        owner_id=alice.pk,
        type="daily",
        allowed_requests=120,
        rollover_requests=20,
        used_requests=120,
        pace_from=80,
        buffer_percent=10,
        buffer_uses=3,
        buffer_used=1,
        period_start=now - timedelta(hours=1),
        period_end=now + timedelta(hours=1),
    )
    text = alice_client.get("/settings/usage/limits/").content.decode()
    assert "120 of 120" in text
    assert "20 of it carried over" in text
    assert "calls are slowed so that the rest lasts" in text
    assert "2 critical calls may go beyond it" in text
