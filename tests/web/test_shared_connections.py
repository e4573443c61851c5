"""Connecting by consent for a team and for the house: the same way, for those who may change these keys alone."""

import html
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from apikeys import keys, oauth, resolution
from apikeys.models import Credential
from digitalme.accounts import roles
from digitalme.accounts.models import Membership, Team, User
from digitalme.accounts.roles import Role
from digitalme.statements import ask
from providers import consent
from tests.api.conftest import by_token
from tests.conftest import PASSWORD
from tests.oauth_server import OAuthServer, playing
from tests.web.test_connections import HTMX

pytestmark = pytest.mark.django_db
TEAM = "/settings/team/alices/"
PAGE = f"{TEAM}keys/github/"
BACK = "/settings/api/github/connected/"
HOUSE = "/admin/apikeys/credential/connect/"
SCOPES = {"scopes": ["read:user"]}


@pytest.fixture
def github(settings: Any) -> Iterator[OAuthServer]:
    with playing("github", settings) as one:
        yield one


def sent_to(client: Client, page: str = f"{PAGE}connect/") -> str:
    return str(client.post(page, SCOPES, headers=HTMX)["HX-Redirect"])


def staff(role: Role) -> Client:
    user = User.objects.create_user(f"{role}@staff.example.com", PASSWORD)
    roles.assign(user, role)
    client = Client()
    client.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    return client


# --- A team --------------------------------------------------------------------------------------


def test_a_teams_key_is_connected_and_serves_its_members(
    alice: User, alice_client: Client, bob: User, github: OAuthServer, team: Team
) -> None:
    assert "Connect GitHub for the team" in alice_client.get(TEAM).content.decode()
    assert "every member who has no key of their own" in alice_client.get(f"{PAGE}connect/").content.decode()
    answer = alice_client.get(BACK, github.agree(sent_to(alice_client)), follow=True)
    assert answer.redirect_chain == [(f"{PAGE}connection/", 302)]
    text = html.unescape(answer.content.decode())
    assert "GitHub is connected" in text
    assert "Members of the team “Alice's team” call with it" in text
    assert "canary" not in text
    credential = Credential.objects.get()
    assert (credential.owner, credential.status) == (f"team:{team.pk}", "valid")
    assert ask(resolution.resolve([(bob.pk, "github")]))[bob.pk, "github"].source == "team"
    assert "connected by consent" in alice_client.get(TEAM).content.decode()
    told = by_token(alice).get("/api/v1/providers/github/consent/?team=alices").json()
    assert (told["connected"], told["url"]) == (True, f"http://127.0.0.1:8000{PAGE}connect/")
    assert by_token(alice).get("/api/v1/providers/github/consent/").json()["connected"] is False


def test_removing_a_teams_key_gives_the_access_back(alice_client: Client, github: OAuthServer) -> None:
    alice_client.get(BACK, github.agree(sent_to(alice_client)))
    shown = alice_client.post(f"{PAGE}remove/", follow=True).content.decode()
    assert "ended its access" in shown
    assert len(github.revocations) == 1
    assert not Credential.objects.exists()


@pytest.mark.parametrize("page", ["connect/", "connection/"])
def test_a_member_gets_403_and_an_outsider_404(
    page: str, bob_client: Client, charlie_client: Client, alice: User, github: OAuthServer
) -> None:
    assert bob_client.get(PAGE + page).status_code == 403
    assert charlie_client.get(PAGE + page).status_code == 404
    if page == "connect/":
        assert bob_client.post(PAGE + page, SCOPES).status_code == 403
    assert by_token(alice).get("/api/v1/providers/github/consent/?team=other").status_code == 404


@pytest.mark.parametrize("how", ["role", "place", "team"])
def test_who_lost_the_right_on_the_way_connects_nothing(
    how: str, alice: User, bob: User, bob_client: Client, github: OAuthServer, team: Team
) -> None:
    Membership.objects.filter(user=bob).update(role="admin")
    back = github.agree(sent_to(bob_client))
    if how == "role":
        Membership.objects.filter(user=bob).update(role="member")
    elif how == "place":
        Membership.objects.filter(user=bob).delete()
    else:
        team.delete()
    answer = bob_client.get(BACK, back)
    assert answer.status_code == 403
    assert "not yours to change" in answer.content.decode()
    assert github.token_calls() == []
    assert not Credential.objects.exists()


def test_a_right_that_is_lost_while_tokens_are_fetched_ends_the_grant(
    bob: User, bob_client: Client, github: OAuthServer, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    Membership.objects.filter(user=bob).update(role="admin")
    back = github.agree(sent_to(bob_client))
    exchange = consent.exchange

    def slow(*arguments: Any, **more: Any) -> Any:
        found = exchange(*arguments, **more)
        Membership.objects.filter(user=bob).update(role="member")
        return found

    monkeypatch.setattr(consent, "exchange", slow)
    assert bob_client.get(BACK, back).status_code == 403
    assert len(github.revocations) == 1
    assert not Credential.objects.exists()


def test_the_owner_is_bound_to_the_state(
    alice: User, alice_client: Client, github: OAuthServer, charlie_client: Client
) -> None:
    back = github.agree(sent_to(alice_client))
    session = alice_client.session
    (digest,) = session[oauth.NOTES]
    session[oauth.NOTES][digest]["owner"] = {"kind": "user", "id": str(alice.pk)}
    session.save()
    # The verifier is the team's alone, so the provider refuses it.
    assert alice_client.get(BACK, back).status_code == 400
    assert not Credential.objects.exists()
    assert charlie_client.get(BACK, back).status_code == 400


# --- The house -----------------------------------------------------------------------------------


def test_a_super_admin_connects_the_house(github: OAuthServer, alice: User) -> None:
    client = staff(Role.SUPER_ADMIN)
    assert "Connect by consent" in client.get("/admin/apikeys/credential/").content.decode()
    assert "Connect GitHub" in client.get(HOUSE).content.decode()
    shown = client.post(f"{HOUSE}github/", SCOPES).content.decode()
    assert "with the account of this server" in shown
    (address,) = re.findall(r'href="(http[^"]*/login/oauth/authorize[^"]*)"', shown)
    answer = client.get(BACK, github.agree(html.unescape(address)), follow=True)
    assert answer.redirect_chain == [("/admin/apikeys/credential/", 302)]
    assert "GitHub is connected for the house" in answer.content.decode()
    credential = Credential.objects.get()
    assert (credential.is_system, credential.status) == (True, "valid")
    assert ask(resolution.resolve([(alice.pk, "github")]))[alice.pk, "github"].source == "system"
    shown = client.get(f"/admin/apikeys/credential/{credential.pk}/change/").content.decode()
    assert re.search(r"Granted (now|\d)", shown)
    assert f"{HOUSE}github/" in shown
    assert "canary" not in shown
    assert "key already" in client.get(f"{HOUSE}github/").content.decode()


def test_only_super_admins_do_and_after_their_password(github: OAuthServer) -> None:
    for role in (Role.SUPPORT, Role.ADMIN):
        client = staff(role)
        assert client.get(HOUSE).status_code == 403
        assert client.post(f"{HOUSE}github/", SCOPES).status_code == 403
        assert "Connect by consent" not in client.get("/admin/apikeys/credential/").content.decode()
    staff(Role.SUPER_ADMIN)
    unconfirmed = Client()
    unconfirmed.force_login(User.objects.get(is_superuser=True))
    answer = unconfirmed.post(f"{HOUSE}github/", SCOPES)
    assert answer["Location"].startswith("/accounts/reauthenticate/")
    assert not unconfirmed.session.get(oauth.NOTES)


def test_one_who_is_no_super_admin_any_more_connects_no_house(github: OAuthServer) -> None:
    client = staff(Role.SUPER_ADMIN)
    shown = client.post(f"{HOUSE}github/", SCOPES).content.decode()
    (address,) = re.findall(r'href="(http[^"]*/login/oauth/authorize[^"]*)"', shown)
    roles.assign(User.objects.get(), Role.ADMIN)
    assert client.get(BACK, github.agree(html.unescape(address))).status_code == 403
    assert not Credential.objects.exists()


def test_the_house_connects_only_what_its_key_may_serve(settings: Any) -> None:
    client = staff(Role.SUPER_ADMIN)
    assert "No provider can be connected" in client.get(HOUSE).content.decode()
    with playing("google", settings):
        assert "Connect Google" not in client.get(HOUSE).content.decode()
        assert client.post(f"{HOUSE}google/", {"scopes": ["openid"]}).status_code == 404


def test_removing_the_houses_key_gives_the_access_back(
    github: OAuthServer, django_capture_on_commit_callbacks: Any
) -> None:
    client = staff(Role.SUPER_ADMIN)
    shown = client.post(f"{HOUSE}github/", SCOPES).content.decode()
    (address,) = re.findall(r'href="(http[^"]*/login/oauth/authorize[^"]*)"', shown)
    client.get(BACK, github.agree(html.unescape(address)))
    with django_capture_on_commit_callbacks(execute=True):
        credential = keys.system_keys().get()
        client.post(f"/admin/apikeys/credential/{credential.pk}/delete/", {"post": "yes"})
    assert not Credential.objects.exists()
    assert len(github.revocations) == 1
