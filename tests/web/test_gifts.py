"""/settings/usage/gifts/ and /api/v1/quotas/gifts/: giving, the question before it, and what both sides see."""

from typing import Any

import pytest
from django.test import Client

from digitalme.accounts import tokens
from digitalme.accounts.models import AccessToken, Team, User
from quotas.models import Gift, Limit
from tests.api.conftest import by_token

pytestmark = pytest.mark.django_db
PAGE = "/settings/usage/gifts/"
API = "/api/v1/quotas/gifts/"
JSON: Any = {"content_type": "application/json"}


def test_a_gift_is_asked_about_then_given_and_shown_to_both(
    team: Team, bob: User, alice_client: Client, bob_client: Client, charlie_client: Client
) -> None:
    body = {"limit": "daily||requests", "amount": "40", "to": f"user:{bob.pk}"}
    asked = alice_client.post(PAGE, body)
    assert "Give 40 requests of “Requests today (0 of 1,000 used)” to bob@example.com?" in asked.content.decode()
    assert not Gift.objects.exists()
    page = alice_client.post(PAGE, {**body, "confirmed": "1"}, follow=True).content.decode()
    assert "It is given" in page
    assert "to bob@example.com" in page
    assert "from alice@example.com" in bob_client.get(PAGE).content.decode()
    assert "1,040" in bob_client.get(PAGE).content.decode()
    assert "bob@example.com" not in charlie_client.get(PAGE).content.decode()
    quotas = {one["type"]: one["requests"] for one in alice_client.get("/api/v1/quotas/").json() if not one["provider"]}
    assert (quotas["daily"]["allowed"], quotas["daily"]["given"]) == (960, 40)


def test_more_than_is_left_a_piece_and_a_stranger_are_refused_on_the_form(
    team: Team, bob: User, charlie: User, alice_client: Client
) -> None:
    good = {"limit": "daily||requests", "amount": "5", "to": f"user:{bob.pk}", "confirmed": "1"}
    for wrong, words in (
        ({"amount": "1001"}, "You have 1,000 requests left to give"),
        ({"amount": "1.5"}, "come whole"),
        ({"to": f"user:{charlie.pk}"}, "Select a valid choice"),
        ({"limit": "demo|openai|requests"}, "Select a valid choice"),
    ):
        answer = alice_client.post(PAGE, {**good, **wrong})
        assert answer.status_code == 422
        assert words in answer.content.decode()
    assert not Gift.objects.exists()


def test_who_has_no_team_is_told_how_to_come_by_one(charlie_client: Client) -> None:
    assert "You belong to no team yet" in charlie_client.get(PAGE).content.decode()


def test_programs_give_by_address_and_a_capped_token_gives_nothing(team: Team, alice: User, bob: User) -> None:
    program = by_token(alice)
    body = {"type": "monthly", "cost": "1.25", "receiver": "bob@example.com"}
    made = program.post(API, body, **JSON)
    assert made.status_code == 201
    assert made.json().items() >= {"receiver": bob.email, "team": None, "cost": "1.250000000", "requests": None}.items()
    assert by_token(bob).get(API).json() == [made.json()]
    assert program.post(API, {**body, "receiver": "charlie@example.com"}, **JSON).status_code == 404
    assert program.post(API, {**body, "team": team.slug}, **JSON).status_code == 400
    Limit.objects.create(token=AccessToken.objects.get(user=alice), type="daily", binds="all", requests=5)
    assert program.post(API, body, **JSON).status_code == 403
    assert Gift.objects.count() == 1
    assert tokens.tokens_of(alice).count() == 1
