"""Google keys with which access tokens are fetched: service accounts, and refresh tokens of one's own client."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apikeys import checks, keys, rechecks, renewal, resolution
from apikeys.models import Credential
from digitalme.accounts.models import User
from digitalme.audit.models import AuditEvent
from digitalme.errors import InvalidKeyFormat, KeyNotFound
from providers import registry
from providers.secrets import Secret
from tests.fakes import Reply
from tests.letters import sent
from tests.oauth_server import OAuthServer, playing
from tests.providers.test_google import account

pytestmark = pytest.mark.django_db
CLIENT = {
    "client_id": "1234-own.apps.googleusercontent.com",
    "client_secret": "GOCSPX-own-canary-0123456789",
    "refresh_token": "1//0gown-canary-0123456789abcdefghij",
}
TOKEN = "ya29.renewed" + "e" * 30
PAGE = "/settings/api/google/key/"


@pytest.fixture(autouse=True)
def _no_tokens_kept() -> None:
    renewal._signed.clear()


@pytest.fixture
def google(settings: Any) -> Iterator[OAuthServer]:
    with playing("google", settings) as one:
        settings.DIGITALME_OAUTH_SECRETS = {}  # nothing of this needs an app of the server
        one.access_tokens.append(TOKEN)
        one.token_reply = Reply(200, {"access_token": TOKEN, "expires_in": 3599, "scope": "openid"})
        yield one


def resolved_row(credential: Credential) -> Credential:
    return Credential.objects.select_related("salt").get(pk=credential.pk)


def renewed(credential: Credential) -> Any:
    """Do what a call does with a key that it has just read."""
    key = resolution.resolved(resolved_row(credential))
    return renewal.fresh(key, resolution.unseal(key))


def own_client(user: User, **changed: str) -> Credential:
    fields = {name: value for name, value in {**CLIENT, **changed}.items() if value}
    return keys.set_key(actor=user, owner=keys.Owner("user", user.pk), provider=registry.get("google"), fields=fields)


def service_account(user: User) -> Credential:
    owner, file = keys.Owner("user", user.pk), account(token_uri="https://evil.example/token")
    return keys.set_key(actor=user, owner=owner, provider=registry.get("google"), fields={"service_account": file})


def test_a_service_accounts_token_is_kept_in_the_process_until_its_last_minute(
    alice: User, google: OAuthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    credential = service_account(alice)
    token = "ya29.signed" + "e" * 30
    google.token_reply = Reply(200, {"access_token": token, "expires_in": 3599})
    assert renewed(credential)["access_token"] == Secret(token)
    assert renewed(credential)["access_token"] == Secret(token)
    assert len(google.token_calls()) == 1
    assert "signed" not in str(list(Credential.objects.values()))
    assert credential.hint == ""
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + 3545)
    renewed(credential)
    assert len(google.token_calls()) == 2


def test_a_replaced_service_account_gets_a_token_of_its_own(alice: User, google: OAuthServer) -> None:
    google.token_reply = Reply(200, {"access_token": "ya29.signed" + "e" * 30, "expires_in": 3599})
    renewed(service_account(alice))
    renewed(service_account(alice))
    assert len(google.token_calls()) == 2


def test_a_service_account_that_is_refused_says_what_to_do(alice: User, google: OAuthServer) -> None:
    credential = service_account(alice)
    google.token_reply = Reply(400, {"error": "invalid_grant", "error_description": "canary"})
    with pytest.raises(KeyNotFound) as caught:
        renewed(credential)
    assert "invalid_grant" in caught.value.message
    assert "canary" not in caught.value.message
    assert checks.test_credential(resolved_row(credential)).category == "invalid"


# --- Refresh tokens of one's own client ----------------------------------------------------------


def test_a_refresh_token_is_entered_tested_and_renews_itself(
    alice: User, alice_client: Client, google: OAuthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = alice_client.post(PAGE, CLIENT, headers={"HX-Request": "true"}).content.decode()
    assert "The key works." in shown
    assert "canary" not in shown
    credential = keys.key_of(alice, "google")
    assert (credential.status, credential.hint) == ("valid", CLIENT["refresh_token"][-4:])
    assert google.renewals() == [{"grant_type": "refresh_token", **CLIENT}]
    assert credential.last_check is not None
    assert credential.last_check["detail"]["facts"]["account"] == "ann@example.com"
    for _ in range(2):
        assert renewed(credential)["access_token"] == Secret(TOKEN)
    assert len(google.renewals()) == 2  # the test's own, and one for all calls of the hour
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + 3545)
    renewed(credential)
    assert len(google.renewals()) == 3
    assert "renewed" not in str(list(Credential.objects.values()))


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"client_id": ""}, "client_id"),
        ({"client_secret": ""}, "client_secret"),
        ({"refresh_token": "", "access_token": "ya29." + "x" * 30}, "refresh_token"),
        ({"client_id": "https://evil.example/token"}, "client_id"),
        ({"refresh_token": "ya29." + "x" * 30}, "refresh_token"),
    ],
)
def test_what_does_not_go_together_is_refused_at_its_field(changed: dict[str, str], field: str, alice: User) -> None:
    with pytest.raises(InvalidKeyFormat) as caught:
        own_client(alice, **changed)
    assert caught.value.data["field"] == field
    assert "canary" not in caught.value.message


@pytest.mark.parametrize(
    ("reply", "category", "words"),
    [
        (Reply(400, {"error": "invalid_grant", "error_description": "canary"}), "expired", "Get a new one"),
        (Reply(401, {"error": "invalid_client"}), "invalid", "id or secret is wrong"),
        (Reply(401, {"error": "unauthorized_client"}), "invalid", "given to another one"),
        (Reply(503, b"no"), "network", "not judged"),
    ],
)
def test_a_refusal_says_which_part_is_wrong(
    reply: Reply, category: str, words: str, alice: User, google: OAuthServer
) -> None:
    google.token_reply = reply
    outcome = checks.test_credential(own_client(alice), actor=alice)
    assert (outcome.category, words in outcome.message) == (category, True)
    assert "canary" not in outcome.message


def test_a_refresh_token_that_is_over_is_told_once(alice: User, google: OAuthServer) -> None:
    credential = own_client(alice)
    google.token_reply = Reply(400, {"error": "invalid_grant"})
    for _ in range(2):
        with pytest.raises(KeyNotFound, match="invalid_grant"):
            renewed(credential)
    credential.refresh_from_db()
    assert (credential.status, "Get a new one" in credential.status_detail) == ("expired", True)
    assert AuditEvent.objects.filter(action="credential.rejected").count() == 1
    rechecks.tell(now=timezone.now())
    rechecks.tell(now=timezone.now())
    (letter,) = sent()
    assert (letter.to, "no longer accepts your key" in letter.subject) == ([alice.email], True)


def test_a_client_that_is_refused_for_now_ends_nothing(alice: User, google: OAuthServer) -> None:
    credential = own_client(alice)
    google.token_reply = Reply(401, {"error": "invalid_client"})
    with pytest.raises(KeyNotFound):
        renewed(credential)
    credential.refresh_from_db()
    assert (credential.status, credential.untold) == ("unknown", False)
