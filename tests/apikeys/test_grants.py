"""What was granted is given back at the provider when the key that holds it goes, after the change and at best."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from apikeys import grants, keys, oauth
from apikeys.models import Consent, Credential
from digitalme.accounts import roles, teams
from digitalme.accounts.models import Team, User
from digitalme.audit import log as trail
from digitalme.audit.models import AuditEvent
from digitalme.errors import AuditUnavailable
from providers import registry
from tests.api.conftest import by_token
from tests.apikeys.conftest import owned_by
from tests.conftest import PASSWORD
from tests.oauth_server import OAuthServer, connected, playing

pytestmark = pytest.mark.django_db
Committing = Callable[..., AbstractContextManager[Any]]
TYPED = {"google": {"api_key": "AIza" + "x" * 35}, "github": {"token": "ghp_" + "a" * 36}}


@pytest.fixture
def google(settings: Any) -> Iterator[OAuthServer]:
    with playing("google", settings) as one:
        yield one


@pytest.fixture
def github(settings: Any) -> Iterator[OAuthServer]:
    with playing("github", settings) as one:
        yield one


def enter(one: User | Team | None, slug: str) -> Credential:
    return keys.set_key(actor=None, owner=owned_by(one), provider=registry.get(slug), fields=TYPED[slug])


def ended() -> list[Any]:
    """What the trail has of grants that were ended: how it went at the provider."""
    found = AuditEvent.objects.filter(action__endswith=".grant_ended").order_by("sequence")
    return [event.facts["upstream"] for event in found]


@pytest.mark.parametrize("slug", ["google", "github"])
def test_a_key_that_is_entered_ends_the_grant_that_it_replaces(
    slug: str, alice: User, settings: Any, django_capture_on_commit_callbacks: Committing
) -> None:
    with playing(slug, settings) as server:
        connected(server, alice)
        with django_capture_on_commit_callbacks(execute=True):
            enter(alice, slug)
            assert server.revocations == []  # not before it is committed
        assert len(server.revocations) == 1
    event = AuditEvent.objects.get(action="credential.grant_ended")
    assert (event.subject, event.facts) == (f"user:{alice.pk}", {"provider": slug, "upstream": True, "version": 1})


def test_a_new_consent_ends_the_former_one_unless_that_would_end_both(
    alice: User, google: OAuthServer, settings: Any, django_capture_on_commit_callbacks: Committing
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        connected(google, alice)
        connected(google, alice)
    assert google.revocations == []
    with playing("github", settings) as github, django_capture_on_commit_callbacks(execute=True):
        connected(github, alice)
        connected(github, alice)
    (seen,) = github.revocations
    assert github.access_tokens[0] in seen.body.decode()


def test_a_change_that_fails_ends_nothing(
    alice: User, google: OAuthServer, django_capture_on_commit_callbacks: Committing
) -> None:
    connected(google, alice)

    def fails() -> None:
        with grants.given_back(keys.keys_of(alice), actor=alice), transaction.atomic():
            enter(alice, "google")
            raise RuntimeError

    with django_capture_on_commit_callbacks(execute=True), pytest.raises(RuntimeError):
        fails()
    assert google.revocations == []


def test_neither_provider_nor_trail_can_stop_a_change(
    alice: User,
    google: OAuthServer,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Committing,
) -> None:
    connected(google, alice)
    settings.DIGITALME_UPSTREAMS = {"google": "http://127.0.0.1:9"}
    with django_capture_on_commit_callbacks(execute=True):
        enter(alice, "google")
    assert ended() == [False]
    with playing("google", settings) as again:
        credential = connected(again, alice)

    def refuse(*arguments: Any, **facts: Any) -> None:
        raise AuditUnavailable("no")

    granted = grants.of(credential)
    assert granted
    monkeypatch.setattr(trail, "record", refuse)
    assert grants.end(granted, actor=None) is False
    assert keys.key_of(alice, "google").version == 3


def test_a_grant_that_has_ended_or_opens_no_more_is_no_error(alice: User, google: OAuthServer) -> None:
    credential = connected(google, alice)
    Credential.objects.update(sealed={"access_token": "AAAA"})
    credential.refresh_from_db()
    assert oauth.remove(actor=alice, credential=credential) is False
    credential = connected(google, alice)
    Consent.objects.update(ended_at=credential.created_at)
    assert oauth.remove(actor=alice, credential=credential) is None
    assert ended() == [False]
    assert google.revocations == []


# --- Whoever goes takes their grants along --------------------------------------------------------


@pytest.fixture
def admin(db: None) -> Client:
    user = User.objects.create_user("root@staff.example.com", PASSWORD)
    roles.assign(user, roles.Role.SUPER_ADMIN)
    client = Client()
    client.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    return client


def by_the_team_page(team: Team, alice: User, admin: Client) -> Any:
    client = Client()
    client.post("/accounts/login/", {"login": alice.email, "password": PASSWORD})
    return client.post("/settings/team/alices/dissolve/", {"confirmed": team.name})


def by_the_api(team: Team, alice: User, admin: Client) -> Any:
    return by_token(alice).delete(f"/api/v1/teams/alices/?confirmed={team.name}")


def by_the_admin(team: Team, alice: User, admin: Client) -> Any:
    return admin.post(f"/admin/accounts/team/{team.pk}/delete/", {"post": "yes"})


@pytest.mark.parametrize("how", [by_the_team_page, by_the_api, by_the_admin])
def test_a_team_that_ends_gives_its_grants_back(
    how: Callable[[Team, User, Client], Any],
    team: Team,
    alice: User,
    admin: Client,
    github: OAuthServer,
    django_capture_on_commit_callbacks: Committing,
) -> None:
    connected(github, alice, owned_by(team))
    connected(github, alice)
    with django_capture_on_commit_callbacks(execute=True):
        assert how(team, alice, admin).status_code in (204, 302)
    assert not Team.objects.exists()
    (seen,) = github.revocations
    assert github.access_tokens[0] in seen.body.decode()
    assert keys.keys_of(alice).count() == 1
    assert ended() == [True]


@pytest.mark.parametrize("many", [False, True])
def test_an_account_that_is_deleted_gives_its_grants_back(
    many: bool, bob: User, admin: Client, github: OAuthServer, django_capture_on_commit_callbacks: Committing
) -> None:
    connected(github, bob)
    with django_capture_on_commit_callbacks(execute=True):
        if many:
            chosen = {"action": "delete_selected", "_selected_action": [str(bob.pk)], "post": "yes"}
            admin.post("/admin/accounts/user/", chosen)
        else:
            admin.get(f"/admin/accounts/user/{bob.pk}/delete/")  # only asks
            assert github.revocations == []
            admin.post(f"/admin/accounts/user/{bob.pk}/delete/", {"post": "yes"})
    assert not User.objects.filter(pk=bob.pk).exists()
    assert len(github.revocations) == 1
    assert AuditEvent.objects.get(action="credential.grant_ended").subject == f"user:{bob.pk}"


def test_a_team_that_stays_keeps_its_grants(alice: User, team: Team, github: OAuthServer) -> None:
    connected(github, alice, owned_by(team))
    answer = by_token(alice).delete("/api/v1/teams/alices/?confirmed=wrong")
    assert answer.status_code == 400
    assert teams.place_of(alice, "alices")
    assert github.revocations == []
