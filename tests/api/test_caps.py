"""Budgets on own keys, and caps of access tokens."""

from typing import Any

import pytest
from django.test import Client

from digitalme.accounts import tokens
from digitalme.accounts.models import User
from quotas.models import Allocation, Limit
from tests.api.conftest import by_token

BUDGETS = "/api/v1/quotas/budgets/"
JSON: Any = {"content_type": "application/json"}


def test_a_budget_is_set_replaced_listed_and_removed(alice: User, alice_program: Client) -> None:
    for dollars in ("5", "7.50"):
        body = {"type": "monthly_budget", "provider": "openai", "cost": dollars, "soft": dollars == "5"}
        answer = alice_program.post(BUDGETS, body, **JSON)
        assert answer.status_code == 201
    (listed,) = alice_program.get(BUDGETS).json()
    assert listed == answer.json()
    assert (listed["cost"], listed["soft"], listed["requests"]) == ("7.500000000", False, None)
    quotas = alice_program.get("/api/v1/quotas/").json()
    (told,) = [one for one in quotas if one["type"] == "monthly_budget"]
    assert (told["provider"], told["binds"], told["cost"]["allowed"]) == ("openai", "own", "7.500000000")
    assert alice_program.delete(f"{BUDGETS}{listed['id']}/").status_code == 204
    assert alice_program.get(BUDGETS).json() == []
    assert not Allocation.objects.filter(user=alice, type="monthly_budget", is_active=True).exists()


@pytest.mark.parametrize(
    "body",
    [
        {"type": "monthly", "cost": "5"},
        {"type": "daily_budget"},
        {"type": "daily_budget", "requests": -1},
        {"type": "daily_budget", "cost": "NaN"},
        {"type": "daily_budget", "requests": 1, "provider": "nobody"},
    ],
)
def test_a_budget_that_cannot_be_is_refused(alice_program: Client, body: dict[str, object]) -> None:
    assert alice_program.post(BUDGETS, body, **JSON).status_code == 400
    assert not Limit.objects.filter(user__isnull=False).exists()


def test_a_budget_cannot_take_what_staff_allowed_away(alice: User, alice_program: Client) -> None:
    staffs = Limit.objects.create(user=alice, type="daily", requests=1)
    assert alice_program.delete(f"{BUDGETS}{staffs.pk}/").status_code == 404


def test_a_capped_token_neither_lifts_its_cap_nor_makes_another_token(alice: User, alice_client: Client) -> None:
    program = by_token(alice)
    token = tokens.tokens_of(alice).get()
    path = f"/api/v1/tokens/{token.pk}/caps/"
    made = program.post(path, {"type": "daily", "requests": 5}, **JSON)
    assert made.status_code == 201
    assert program.get(path).json()[0]["requests"] == 5
    assert program.post(path, {"type": "daily", "requests": 50}, **JSON).status_code == 403
    assert program.delete(f"{path}{made.json()['id']}/").status_code == 403
    assert program.post("/api/v1/tokens/", {"name": "way out", "lifetime_days": 1}, **JSON).status_code == 403
    assert alice_client.delete(f"{path}{made.json()['id']}/").status_code == 204
