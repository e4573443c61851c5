"""/settings/team/: from an empty page to a team with people and keys, and what each role sees there."""

import re

import pytest
from django.core import mail
from django.test import Client

from apikeys import keys, resolution
from apikeys.models import Credential
from digitalme.accounts import teams
from digitalme.accounts.models import Membership, Team, User
from digitalme.statements import ask
from tests.conftest import PASSWORD
from tests.fakes import FakeProvider
from tests.web.conftest import GOOD_KEYS, queries_of

pytestmark = pytest.mark.django_db
LIST = "/settings/team/"
PAGE = "/settings/team/alices/"


def signed_in_lately(user: User) -> Client:
    client = Client()
    client.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    return client


def test_a_newcomer_makes_a_team_and_invites_somebody_who_joins(charlie_client: Client, bob: User) -> None:
    assert "You belong to no team yet" in charlie_client.get(LIST).content.decode()
    made = charlie_client.post(LIST, {"name": "Kitchen"})
    place = made["Location"]
    page = charlie_client.post(f"{place}invite/", {"email": bob.email, "role": "member"}, follow=True).content.decode()
    assert "An invitation is on its way to bob@example.com" in page
    link = re.search(r"/settings/team/invitation/\S+", str(mail.outbox[0].body))
    assert link
    assert Client().get(link.group())["Location"].startswith("/accounts/login/?next=")
    bobs = Client()
    bobs.force_login(bob)
    assert "charlie@example.com invites you" in bobs.get(link.group()).content.decode()
    assert "You belong to the team “Kitchen” now" in bobs.post(link.group(), follow=True).content.decode()
    again = bobs.post(link.group())
    assert again.status_code == 404
    assert "This invitation cannot be used" in again.content.decode()


def test_somebody_else_s_link_is_no_invitation(alice_client: Client, charlie_client: Client, team: Team) -> None:
    alice_client.post(f"{PAGE}invite/", {"email": "dora@example.com"})
    link = re.search(r"/settings/team/invitation/\S+", str(mail.outbox[0].body))
    assert link
    answer = charlie_client.get(link.group())
    assert answer.status_code == 404
    assert "Alice" not in answer.content.decode().partition("<main")[2]


def test_an_invitation_can_be_declined(alice_client: Client, charlie_client: Client) -> None:
    alice_client.post(f"{PAGE}invite/", {"email": "charlie@example.com"})
    link = re.search(r"/settings/team/invitation/\S+", str(mail.outbox[0].body))
    assert link
    assert "You declined" in charlie_client.post(link.group(), {"answer": "decline"}, follow=True).content.decode()
    assert charlie_client.get(PAGE).status_code == 404


MANAGING = ["rename/", "invite/", "keys/openai/", "keys/openai/test/", "keys/openai/remove/", "members/{}/remove/"]
OWNING = ["members/{}/role/", "members/{}/owner/", "dissolve/"]


@pytest.mark.parametrize("path", MANAGING + OWNING)
def test_a_member_gets_403_and_an_outsider_404(alice: User, bob: User, charlie: User, path: str) -> None:
    address = PAGE + path.format(alice.pk)
    assert signed_in_lately(bob).post(address, {"role": "admin", "name": "x"}).status_code == 403
    assert signed_in_lately(charlie).post(address, {"role": "admin", "name": "x"}).status_code == 404
    assert Membership.objects.count() == 2


@pytest.mark.parametrize("path", OWNING)
def test_an_admin_gets_403_where_the_owner_is_asked_for(alice: User, bob: User, path: str) -> None:
    Membership.objects.filter(user=bob).update(role="admin")
    assert signed_in_lately(bob).post(PAGE + path.format(alice.pk), {"role": "member"}).status_code == 403


def test_members_see_neither_invitations_nor_what_is_not_theirs_to_do(alice: User, bob_client: Client) -> None:
    page = bob_client.get(PAGE).content.decode()
    assert "alice@example.com" in page
    assert "Leave the team" in page
    for managers in ("Invite somebody", "Add a key", "Rename", "Dissolve", "Hand over", "ask=remove"):
        assert managers not in page


def test_a_key_of_the_team_serves_its_members(
    alice_client: Client, bob: User, bob_client: Client, provider: FakeProvider
) -> None:
    page = alice_client.post(f"{PAGE}keys/openai/", {"api_key": GOOD_KEYS["openai"]}, follow=True).content.decode()
    assert "Saved." in page
    assert GOOD_KEYS["openai"] not in page
    credential = Credential.objects.get()
    assert (str(credential.owner), credential.status) == (f"team:{Team.objects.get().pk}", "valid")
    assert ask(resolution.resolve([(bob.pk, "openai")]))[bob.pk, "openai"].source == "team"
    assert "Team key" in bob_client.get("/settings/api/").content.decode()
    shown = bob_client.get(PAGE).content.decode()
    assert "OpenAI" in shown
    assert "3kQf" not in shown
    alice_client.post(f"{PAGE}keys/openai/remove/")
    assert not Credential.objects.exists()


def test_a_bad_key_is_told_on_the_form_and_never_shown(alice_client: Client) -> None:
    answer = alice_client.post(f"{PAGE}keys/openai/", {"api_key": "odd one"})
    assert answer.status_code == 422
    assert "odd one" not in answer.content.decode()
    assert not Credential.objects.exists()


def test_ownership_is_handed_over_and_the_team_left(alice: User, bob: User) -> None:
    alices = signed_in_lately(alice)
    assert "You own this team" in alices.post(f"{PAGE}leave/", follow=True).content.decode()
    assert "Hand the team over to Bob Baker?" in alices.get(f"{PAGE}?ask=owner&of={bob.pk.hex}").content.decode()
    alices.post(f"{PAGE}members/{bob.pk}/owner/")
    assert teams.place_of(bob, "alices").role == "owner"
    assert alices.post(f"{PAGE}leave/", follow=True).status_code == 200
    assert alices.get(PAGE).status_code == 404


def test_dissolving_says_what_is_lost_and_wants_name_and_password(
    alice: User, alice_client: Client, team: Team
) -> None:
    assert "Lost for good: 0 shared keys" in alice_client.get(f"{PAGE}?ask=dissolve").content.decode()
    assert alice_client.post(f"{PAGE}dissolve/", {"confirmed": team.name})["Location"].startswith("/accounts/reauth")
    lately = signed_in_lately(alice)
    assert lately.post(f"{PAGE}dissolve/", {"confirmed": "alices"}).status_code == 422
    assert lately.post(f"{PAGE}dissolve/", {"confirmed": team.name}).status_code == 302
    assert not Team.objects.exists()


def test_the_page_costs_the_same_however_large_the_team(alice: User, alice_client: Client, team: Team) -> None:
    few = queries_of(alice_client, PAGE)
    for number in range(4):
        member = User.objects.create_user(f"m{number}@example.com")
        Membership.objects.create(team=team, user=member)
    assert queries_of(alice_client, PAGE) == few <= 18
    assert keys.keys_of_team(team.pk).count() == 0
