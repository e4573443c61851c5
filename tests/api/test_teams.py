"""/api/v1/teams/ from making one to its end, by programs."""

from typing import Any

import pytest
from django.core import mail
from django.test import Client

from digitalme.accounts.models import Invitation, Membership, Team, User

pytestmark = pytest.mark.django_db
JSON = "application/json"


def sent(client: Client, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    return getattr(client, method)(f"/api/v1/{path}", body or {}, content_type=JSON)


def test_a_team_s_whole_life(alice: User, alice_program: Client, charlie: User, charlie_program: Client) -> None:
    made = sent(alice_program, "post", "teams/", {"name": "Lab"})
    assert made.status_code == 201
    assert made.json().items() >= {"name": "Lab", "role": "owner", "members": 1}.items()
    team = f"teams/{made.json()['slug']}/"
    asked = sent(alice_program, "post", f"{team}invitations/", {"email": charlie.email, "role": "admin"})
    assert asked.status_code == 201
    link = str(mail.outbox[0].body).partition("/settings/team/invitation/")[2].split("/")[0]
    assert charlie_program.get(f"/api/v1/invitations/{link}/").json()["team"] == "Lab"
    assert sent(charlie_program, "post", f"invitations/{link}/").json()["members"] == 2
    assert sent(charlie_program, "post", f"invitations/{link}/").status_code == 404
    assert sent(charlie_program, "patch", team, {"name": "Laboratory"}).json()["name"] == "Laboratory"
    member = f"{team}members/{charlie.pk}/"
    assert [one["role"] for one in sent(alice_program, "patch", member, {"role": "owner"}).json()] == ["owner", "admin"]
    assert sent(alice_program, "delete", f"{team}members/{alice.pk}/").status_code == 204
    assert alice_program.get(f"/api/v1/{team}").status_code == 404
    assert charlie_program.delete(f"/api/v1/{team}").status_code == 400
    assert charlie_program.delete(f"/api/v1/{team}?confirmed=Lab").status_code == 400
    assert charlie_program.delete(f"/api/v1/{team}?confirmed=Laboratory").status_code == 204


CHANGES = [
    ("patch", "teams/alices/", {"name": "x"}),
    ("delete", "teams/alices/?confirmed=Alice's%20team", {}),
    ("patch", "teams/alices/members/{}/", {"role": "member"}),
    ("patch", "teams/alices/members/{}/", {"role": "owner"}),
    ("delete", "teams/alices/members/{}/", {}),
    ("get", "teams/alices/invitations/", {}),
    ("post", "teams/alices/invitations/", {"email": "x@y.example"}),
    ("delete", "teams/alices/invitations/01890000-0000-7000-8000-000000000001/", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_a_plain_member_reads_the_team_and_changes_nothing(
    alice: User, bob_client: Client, method: str, path: str, body: dict[str, Any]
) -> None:
    before = list(Membership.objects.order_by("pk").values())
    assert bob_client.get("/api/v1/teams/alices/members/").status_code == 200
    assert sent(bob_client, method, path.format(alice.pk), body).status_code == 403
    assert list(Membership.objects.order_by("pk").values()) == before
    assert (Team.objects.get().name, Invitation.objects.count()) == ("Alice's team", 0)


def test_what_is_not_asked_for_is_ignored(alice: User, alice_program: Client) -> None:
    team = Team.objects.get()
    body = {"name": "New", "slug": "other", "id": "1", "role": "member", "members": [], "created_at": "2020-01-01"}
    assert sent(alice_program, "patch", "teams/alices/", body).status_code == 200
    fresh = Team.objects.get()
    assert (fresh.slug, fresh.created_at, fresh.name) == ("alices", team.created_at, "New")
    assert Membership.objects.get(user=alice).role == "owner"
