"""/settings/usage/: numbers, limits, chart, latest calls."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.test import Client
from django.utils import timezone

from digitalme.accounts.models import User
from quotas.models import Allocation
from tests.web.conftest import add_call, queries_of
from usage.models import UsageRecord

pytestmark = pytest.mark.django_db
PAGE = "/settings/usage/"


def test_a_newcomer_sees_limits_and_what_will_be_here(alice_client: Client) -> None:
    text = alice_client.get(PAGE).content.decode()
    assert "No calls yet" in text
    assert "Nothing has cost anything yet" in text
    assert "Demo OpenAI requests today" in text
    assert "0 of 50" in text


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
    text = alice_client.get(PAGE).content.decode()
    assert text.count('<svg class="chart') == 2
    assert "Show the numbers as a table" in text
    assert "$2.50" in text
    assert "$1.50" in text


def test_a_model_name_with_html_stays_text(alice_client: Client, alice: User) -> None:
    add_call(alice, model="<script>alert(1)</script>")
    assert "<script>alert" not in alice_client.get(PAGE).content.decode()


def test_others_calls_are_not_shown(charlie_client: Client, alice: User) -> None:
    add_call(alice, model="alices-model")
    text = charlie_client.get(PAGE).content.decode()
    assert "alices-model" not in text
    assert "No calls yet" in text


def test_the_number_of_queries_does_not_grow_with_calls(alice_client: Client, alice: User) -> None:
    add_call(alice)
    few = queries_of(alice_client, PAGE)
    for _ in range(30):
        add_call(alice)
    assert queries_of(alice_client, PAGE) == few <= 21


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
    text = alice_client.get(PAGE).content.decode()
    assert "120 of 120" in text
    assert "20 of it carried over" in text
    assert "calls are slowed so that the rest lasts" in text
    assert "2 critical calls may go beyond it" in text
