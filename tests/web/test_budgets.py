"""/settings/usage/budgets/: where people bound themselves."""

from typing import Any

import pytest
from django.test import Client

from digitalme.accounts import tokens
from digitalme.accounts.models import User
from quotas.models import Limit

pytestmark = pytest.mark.django_db
PAGE = "/settings/usage/budgets/"


def post(client: Client, **given: Any) -> Any:
    body = {"bounds": "own", "provider": "", "period": "month", "cost": "", "requests": "", "tokens": "", **given}
    return client.post(PAGE, body)


def test_a_budget_on_own_keys_is_set_shown_as_a_bar_and_removed(alice: User, alice_client: Client) -> None:
    assert post(alice_client, cost="12.50", provider="openai", soft="on").status_code == 302
    limit = Limit.objects.get(user=alice)
    assert (limit.type, limit.binds, limit.soft) == ("monthly_budget", "own", True)
    text = alice_client.get(PAGE).content.decode()
    assert "$12.50 a month" in text
    assert "Warns" in text
    limits = alice_client.get("/settings/usage/limits/").content.decode()
    assert "Your budget: OpenAI budget this month" in limits
    assert alice_client.post(f"{PAGE}{limit.pk}/remove/").status_code == 302
    assert "$12.50 a month" not in alice_client.get(PAGE).content.decode()


def test_a_token_is_capped(alice: User, alice_client: Client) -> None:
    token, _ = tokens.issue(user=alice, name="nightly")
    assert post(alice_client, bounds=str(token.pk), period="day", requests="5").status_code == 302
    assert Limit.objects.get(token=token).type == "daily"
    assert "the token “nightly”" in alice_client.get(PAGE).content.decode()


def test_what_cannot_be_is_said_on_the_form(alice_client: Client) -> None:
    answer = post(alice_client)
    assert answer.status_code == 422
    assert "at least one of requests, tokens and cost" in answer.content.decode()


def test_others_tokens_and_budgets_are_out_of_reach(alice: User, charlie_client: Client) -> None:
    token, _ = tokens.issue(user=alice, name="nightly")
    budget = Limit.objects.create(user=alice, type="daily_budget", binds="own", requests=5)
    assert post(charlie_client, bounds=str(token.pk), requests="5").status_code == 422
    assert charlie_client.post(f"{PAGE}{budget.pk}/remove/").status_code == 404
    assert Limit.objects.filter(pk=budget.pk).exists()
