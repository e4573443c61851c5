"""A team's pool, its members' draws and its budgets, on its page and at /api/v1/teams/<team>/limits/."""

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from digitalme.accounts.models import Membership, Team, User
from digitalme.audit.models import AuditEvent
from quotas import caps, owners
from quotas.caps import Cap
from quotas.models import Allocation, Limit

pytestmark = pytest.mark.django_db
PAGE = "/settings/team/alices/"
API = "/api/v1/teams/alices/limits/"
JSON: Any = {"content_type": "application/json"}


@pytest.fixture
def pool(team: Team, alice: User, bob: User) -> Limit:
    """What the house grants: 100 requests a month, of which bob drew some."""
    whole, now = owners.of_team(team.pk), timezone.now()
    made = caps.put(actor=None, owner=whole, type="monthly", provider="", cap=Cap(requests=100), now=now)
    caps.put(actor=None, owner=whole, type="monthly", provider="", cap=Cap(requests=40), per_member=True, now=now)
    Allocation.objects.filter(owner_id=whole.id).update(used_requests=25)
    Allocation.objects.filter(owner_id=owners.of_member(team.pk, bob.pk).id).update(used_requests=25)
    return made


def post(client: Client, **given: Any) -> Any:
    body = {"bounds": "member", "provider": "", "period": "month", "cost": "", "requests": "", "tokens": "", **given}
    return client.post(f"{PAGE}limits/", body)


def test_the_owner_sees_the_pool_and_everybodys_draws_and_a_member_the_own(
    pool: Limit, alice_client: Client, bob_client: Client
) -> None:
    page = alice_client.get(PAGE).content.decode()
    assert page.count("25 of 100") == 1
    assert (page.count("25 of 40"), page.count("0 of 40")) == (1, 1)
    page = bob_client.get(PAGE).content.decode()
    assert page.count("25 of 100") == 1
    assert (page.count("25 of 40"), page.count("0 of 40")) == (1, 0)
    assert "Set a budget" not in page
    told = bob_client.get(API).json()
    assert [(one["type"], one["requests"]["used"]) for one in told["limits"]] == [("monthly", 25)]
    assert [one["email"] for one in told["members"]] == ["bob@example.com"]
    assert told["set"] == []
    assert len(alice_client.get(API).json()["members"]) == 2


def test_a_cap_per_member_and_a_budget_are_set_shown_audited_and_removed(team: Team, alice_client: Client) -> None:
    assert post(alice_client, requests="7", period="day").status_code == 302
    assert post(alice_client, bounds="keys", cost="12.50", provider="openai").status_code == 302
    cap, budget = Limit.objects.filter(team=team).order_by("pk")
    assert (cap.type, cap.per_member, cap.binds) == ("daily", True, "system")
    assert (budget.type, budget.per_member, budget.binds) == ("monthly_budget", False, "own")
    page = alice_client.get(PAGE).content.decode()
    assert "$12.50 a month" in page
    assert "Budget: OpenAI budget this month" in page
    assert [one["per_member"] for one in alice_client.get(API).json()["set"]] == [True, False]
    assert alice_client.post(f"{PAGE}limits/{cap.pk}/remove/").status_code == 302
    assert alice_client.delete(f"{API}{budget.pk}/").status_code == 204
    assert not Limit.objects.filter(team=team).exists()
    subjects = AuditEvent.objects.filter(action__startswith="limit.").values_list("action", "subject")
    assert sorted(subjects) == [("limit.removed", f"team:{team.pk}")] * 2 + [("limit.set", f"team:{team.pk}")] * 2


def test_what_cannot_be_is_said_on_the_form(alice_client: Client) -> None:
    answer = post(alice_client)
    assert answer.status_code == 422
    assert "at least one of requests, tokens and cost" in answer.content.decode()


def test_the_pool_is_the_houses_to_grant(pool: Limit, alice_client: Client) -> None:
    raised = alice_client.post(API, {"type": "monthly", "requests": 10**6}, **JSON)
    assert raised.status_code == 400
    assert "The house grants the pool" in raised.content.decode()
    assert alice_client.delete(f"{API}{pool.pk}/").status_code == 404
    assert alice_client.post(f"{PAGE}limits/{pool.pk}/remove/").status_code == 404
    pool.refresh_from_db()
    assert pool.requests == 100


def test_a_member_may_set_nothing_an_outsider_finds_nothing_and_another_teams_limit_is_out_of_reach(
    pool: Limit, alice: User, alice_client: Client, bob_client: Client, charlie_client: Client
) -> None:
    cap = Limit.objects.get(per_member=True)
    for client, status in ((bob_client, 403), (charlie_client, 404)):
        assert post(client, requests="7").status_code == status
        assert client.post(f"{PAGE}limits/{cap.pk}/remove/").status_code == status
        assert client.post(API, {"type": "daily_budget", "requests": 5}, **JSON).status_code == status
        assert client.delete(f"{API}{cap.pk}/").status_code == status
    assert charlie_client.get(API).status_code == 404
    other = Team.objects.create(slug="other", name="Other")
    Membership.objects.create(team=other, user=alice, role="owner")
    assert alice_client.delete(f"/api/v1/teams/other/limits/{cap.pk}/").status_code == 404
    assert alice_client.post(f"/settings/team/other/limits/{cap.pk}/remove/").status_code == 404
    assert Limit.objects.filter(team__slug="alices").count() == 2
