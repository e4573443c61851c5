"""Connecting a provider by consent: the way there, the way back, and what can go wrong on it."""

import html
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from apikeys import keys, oauth, renewal, resolution
from apikeys.models import Consent, Credential
from digitalme.accounts.models import User
from digitalme.errors import InvalidRequest
from providers import registry
from tests.fakes import Reply
from tests.oauth_server import APP, SLUGS, OAuthServer, playing

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


@pytest.fixture(params=SLUGS)
def server(request: pytest.FixtureRequest, settings: Any) -> Iterator[OAuthServer]:
    """Each of the providers."""
    with playing(request.param, settings) as one:
        yield one


@pytest.fixture
def google(settings: Any) -> Iterator[OAuthServer]:
    with playing("google", settings) as one:
        yield one


def page(server: OAuthServer, name: str = "connect") -> str:
    return f"/settings/api/{server.slug}/{name}/"


def scopes(server: OAuthServer) -> list[str]:
    return [scope.name for scope in oauth.scopes_of(registry.get(server.slug)) if scope.chosen]


def sent_to(client: Client, server: OAuthServer, wanted: list[str] | None = None) -> str:
    """Press the button, and return where the browser goes."""
    answer = client.post(page(server), {"scopes": scopes(server) if wanted is None else wanted}, headers=HTMX)
    assert answer.status_code == 200
    return str(answer["HX-Redirect"])


def connect(client: Client, server: OAuthServer) -> Any:
    return client.get(page(server, "connected"), server.agree(sent_to(client, server)), follow=True)


def opened(user: User, server: OAuthServer) -> dict[str, str]:
    credential = keys.key_of(user, server.slug)
    return {name: one.reveal() for name, one in resolution.unseal(resolution.resolved(credential)).items()}


def test_a_person_connects_and_sees_what_was_granted(alice: User, alice_client: Client, server: OAuthServer) -> None:
    answer = connect(alice_client, server)
    text = answer.content.decode()
    assert answer.redirect_chain == [(page(server, "connection"), 302)]
    assert "is connected" in text
    for name in scopes(server):
        assert name in text
    credential = keys.key_of(alice, server.slug)
    assert (credential.status, credential.version) == ("valid", 1)
    fields = opened(alice, server)
    field = registry.get(server.slug).manifest.oauth.field  # type: ignore[union-attr]
    assert fields[field] == server.access_tokens[-1]
    assert (renewal.REFRESH in fields) == bool(server.refresh_tokens)
    assert int(fields[renewal.EXPIRY]) > timezone.now().timestamp() + 3500
    assert credential.expires_at is None
    assert "canary" not in text
    assert "canary" not in str(dict(alice_client.session))


def test_the_way_there_names_app_scopes_state_and_challenge(alice_client: Client, server: OAuthServer) -> None:
    address = sent_to(alice_client, server)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    assert asked["redirect_uri"] == f"http://127.0.0.1:8000{page(server, 'connected')}"
    separator = "," if server.slug == "slack" else " "
    assert asked.get("scope", "") == separator.join(scopes(server))
    assert len(asked["state"]) >= 40
    assert ("code_challenge" in asked) == (server.slug != "clickup")
    assert APP["secret"] not in address
    if server.slug == "google":
        assert (asked["access_type"], asked["prompt"]) == ("offline", "consent")


def test_the_code_is_exchanged_with_its_verifier(alice_client: Client, server: OAuthServer) -> None:
    connect(alice_client, server)
    (form,) = server.token_calls()
    assert form["grant_type"] == "authorization_code"
    assert ("code_verifier" in form) == (server.slug != "clickup")


def test_two_consents_have_different_states_and_verifiers(alice_client: Client, google: OAuthServer) -> None:
    for _ in range(2):
        connect(alice_client, google)
    assert len({form["code_verifier"] for form in google.token_calls()}) == 2


def test_nothing_in_the_session_completes_a_consent(alice_client: Client, google: OAuthServer) -> None:
    state = parse_qs(urlsplit(sent_to(alice_client, google)).query)["state"][0]
    kept = str(dict(alice_client.session))
    assert state not in kept
    alice_client.get(page(google, "connected"), {"code": "x", "state": state})
    (form,) = google.token_calls()
    assert form["code_verifier"] not in kept


def test_the_scopes_are_explained_before_leaving(alice_client: Client, server: OAuthServer) -> None:
    text = html.unescape(alice_client.get(page(server)).content.decode())
    for scope in oauth.scopes_of(registry.get(server.slug)):
        assert scope.about in text
    assert "Continue to" in text


def test_without_javascript_the_last_step_is_a_link(alice_client: Client, google: OAuthServer) -> None:
    answer = alice_client.post(page(google), {"scopes": ["openid"]})
    (address,) = re.findall(r'href="(http[^"]*/o/oauth2/v2/auth[^"]*)"', answer.content.decode())
    back = alice_client.get(page(google, "connected"), google.agree(html.unescape(address)), follow=True)
    assert "is connected" in back.content.decode()


@pytest.mark.parametrize("wanted", [[], ["nonsense"], ["openid", "https://evil.example/scope"]])
def test_only_known_scopes_can_be_asked_for(wanted: list[str], alice_client: Client, google: OAuthServer) -> None:
    answer = alice_client.post(page(google), {"scopes": wanted}, headers=HTMX)
    assert answer.status_code == 422
    assert oauth.NOTES not in alice_client.session


# --- What is refused -----------------------------------------------------------------------------


def refused(answer: Any, *words: str, status: int = 400) -> None:
    text = html.unescape(answer.content.decode())
    assert answer.status_code == status
    assert "was not connected" in text
    for word in words:
        assert word in text
    assert "canary" not in text
    assert not Credential.objects.exists()


@pytest.mark.parametrize("state", ["", "wrong", "x" * 5000, "\x00", "é"])
def test_a_wrong_state_is_refused_before_anything_is_asked(
    state: str, alice_client: Client, google: OAuthServer
) -> None:
    back = google.agree(sent_to(alice_client, google))
    refused(alice_client.get(page(google, "connected"), {**back, "state": state}), "not begun here")
    assert google.token_calls() == []


def test_a_state_serves_once(alice: User, alice_client: Client, google: OAuthServer) -> None:
    back = google.agree(sent_to(alice_client, google))
    alice_client.get(page(google, "connected"), back)
    again = alice_client.get(page(google, "connected"), back)
    assert again.status_code == 400
    assert len(google.token_calls()) == 1
    assert keys.key_of(alice, "google").version == 1


def test_a_code_that_was_used_is_refused_by_the_provider(alice_client: Client, server: OAuthServer) -> None:
    back = server.agree(sent_to(alice_client, server))
    server.codes.clear()
    refused(alice_client.get(page(server, "connected"), back), "gave no access")


def test_a_verifier_of_another_consent_is_refused(alice_client: Client, google: OAuthServer) -> None:
    one, other = (google.agree(sent_to(alice_client, google)) for _ in range(2))
    refused(alice_client.get(page(google, "connected"), {"code": one["code"], "state": other["state"]}))


def test_a_consent_cannot_be_completed_by_somebody_else(
    alice_client: Client, charlie_client: Client, google: OAuthServer
) -> None:
    back = google.agree(sent_to(alice_client, google))
    refused(charlie_client.get(page(google, "connected"), back), "not begun here")
    assert google.token_calls() == []


def test_a_consent_does_not_outlast_the_person(alice: User, charlie: User, google: OAuthServer) -> None:
    client = Client()
    client.force_login(alice)
    back = google.agree(sent_to(client, google))
    notes = client.session[oauth.NOTES]
    client.force_login(charlie)
    session = client.session
    session[oauth.NOTES] = notes
    session.save()
    refused(client.get(page(google, "connected"), back), "not begun here")


def test_a_state_of_one_provider_is_none_of_another(alice_client: Client, google: OAuthServer) -> None:
    back = google.agree(sent_to(alice_client, google))
    answer = alice_client.get("/settings/api/slack/connected/", back)
    assert answer.status_code == 400
    assert google.token_calls() == []


def test_a_stranger_brings_nothing_back(client: Client, google: OAuthServer) -> None:
    answer = client.get(page(google, "connected"), {"code": "x", "state": "y"})
    assert answer.status_code == 302
    assert answer["Location"].startswith("/accounts/login/")


def test_after_ten_minutes_it_has_to_begin_again(alice: User, google: OAuthServer) -> None:
    notes: dict[str, Any] = {}
    provider, now = registry.get("google"), timezone.now()
    back = google.agree(
        oauth.begin(provider, ["openid"], user=alice, owner=keys.Owner("user", alice.pk), notes=notes, now=now)
    )
    with pytest.raises(InvalidRequest) as caught:
        oauth.complete(provider, **back, error="", user=alice, notes=notes, now=now + timedelta(minutes=10))
    assert caught.value.data["reason"] == "expired"
    assert google.token_calls() == []


@pytest.mark.parametrize(("error", "words"), [("access_denied", "You declined"), ("server_error", "did not agree")])
def test_who_declines_is_told_so(error: str, words: str, alice_client: Client, google: OAuthServer) -> None:
    back = google.agree(sent_to(alice_client, google))
    refused(alice_client.get(page(google, "connected"), {"error": error, "state": back["state"]}), words)


@pytest.mark.parametrize("reply", [Reply(503, b"<html>canary"), Reply(429, {"error": "canary"})])
def test_a_provider_that_is_down_is_told_apart(reply: Reply, alice_client: Client, google: OAuthServer) -> None:
    google.token_reply = reply
    answer = alice_client.get(page(google, "connected"), google.agree(sent_to(alice_client, google)))
    refused(answer, "Try again later", status=502)


@pytest.mark.parametrize("value", [b"<html>canary", [], {"access_token": 3}, {"error": {"canary": 1}}, {}])
def test_an_answer_that_is_none_connects_nothing(value: Any, alice_client: Client, google: OAuthServer) -> None:
    google.token_reply = Reply(200, value)
    refused(alice_client.get(page(google, "connected"), google.agree(sent_to(alice_client, google))), "gave no access")


def test_no_more_than_five_consents_are_under_way(alice_client: Client, google: OAuthServer) -> None:
    first = google.agree(sent_to(alice_client, google))
    for _ in range(oauth.MAX_PENDING):
        sent_to(alice_client, google)
    assert len(alice_client.session[oauth.NOTES]) == oauth.MAX_PENDING
    assert alice_client.get(page(google, "connected"), first).status_code == 400


# --- The card, and the way out -------------------------------------------------------------------


def test_the_button_is_there_only_where_an_app_is_registered(
    alice_client: Client, google: OAuthServer, settings: Any
) -> None:
    text = alice_client.get("/settings/api/").content.decode()
    assert "Connect with Google" in text
    assert "Connect with Slack" not in text
    settings.DIGITALME_OAUTH_SECRETS = {"google_id": "x"}
    assert "Connect with" not in alice_client.get("/settings/api/").content.decode()
    assert alice_client.get(page(google)).status_code == 302
    assert alice_client.post(page(google), {"scopes": ["openid"]}).status_code == 302


def test_a_definition_that_was_installed_gets_no_app(google: OAuthServer) -> None:
    from dataclasses import replace

    from providers import consent

    assert consent.available(registry.get("google"))
    assert not consent.available(replace(registry.get("google"), origin="installed"))


def test_scopes_that_were_left_out_are_named(alice_client: Client, google: OAuthServer) -> None:
    google.grants = "openid"
    text = html.unescape(connect(alice_client, google).content.decode())
    assert "You left out" in text
    assert "See the account's e-mail address" in text


def test_a_new_consent_takes_the_place_of_the_key(alice: User, alice_client: Client, google: OAuthServer) -> None:
    keys.set_key(
        actor=alice,
        owner=keys.Owner("user", alice.pk),
        provider=registry.get("google"),
        fields={"api_key": "AIza" + "x" * 35},
    )
    assert "takes its place" in alice_client.get(page(google)).content.decode()
    connect(alice_client, google)
    assert set(opened(alice, google)) == {"access_token", renewal.REFRESH, renewal.EXPIRY}
    assert keys.key_of(alice, "google").version == 2


def test_a_key_that_is_entered_ends_the_talk_of_consent(alice: User, alice_client: Client, google: OAuthServer) -> None:
    connect(alice_client, google)
    keys.set_key(
        actor=alice,
        owner=keys.Owner("user", alice.pk),
        provider=registry.get("google"),
        fields={"api_key": "AIza" + "x" * 35},
    )
    assert "Connected by consent" not in alice_client.get("/settings/api/").content.decode()
    assert alice_client.get(page(google, "connection")).status_code == 302


def test_removal_gives_the_access_back(alice_client: Client, server: OAuthServer) -> None:
    connect(alice_client, server)
    assert "Connected by consent" in alice_client.get("/settings/api/").content.decode()
    refresh = list(server.refresh_tokens)
    text = alice_client.post(page(server, "remove"), headers=HTMX).content.decode()
    assert not Credential.objects.exists()
    assert not Consent.objects.exists()
    if server.slug == "clickup":
        assert "take it back in your account there" in text
        return
    assert "ended its access" in text
    (seen,) = server.revocations
    sent = f"{seen.headers.get('authorization')} {seen.body.decode()}"
    if server.slug == "google":
        assert seen.method == "POST"
        assert refresh[0].replace("/", "%2F") in sent
    elif server.slug == "slack":
        assert f"Bearer {server.access_tokens[-1]}" in sent
    else:
        assert seen.method == "DELETE"
        assert (server.access_tokens[-1] in sent, "Basic " in sent) == (True, True)


def test_a_provider_that_cannot_be_told_keeps_no_key_here(
    alice_client: Client, google: OAuthServer, settings: Any
) -> None:
    connect(alice_client, google)
    settings.DIGITALME_UPSTREAMS = {"google": "http://127.0.0.1:9"}
    text = alice_client.post(page(google, "remove"), headers=HTMX).content.decode()
    assert "take it back in your account there" in text
    assert not Credential.objects.exists()


def test_the_api_tells_where_to_begin_and_how_it_stands(alice_client: Client, google: OAuthServer) -> None:
    where = "/api/v1/providers/google/consent/"
    told = alice_client.get(where).json()
    assert (told["available"], told["connected"]) == (True, False)
    assert told["url"] == "http://127.0.0.1:8000/settings/api/google/connect/"
    assert told["scopes"][0] == {"name": "openid", "about": "Know which Google account this is", "chosen": True}
    connect(alice_client, google)
    told = alice_client.get(where).json()
    assert told["connected"] is True
    assert told["granted"] == scopes(google)
    assert alice_client.delete("/api/v1/keys/google/").status_code == 204
    assert len(google.revocations) == 1


def test_no_token_is_left_where_it_could_be_read(
    alice: User, alice_client: Client, google: OAuthServer, caplog: pytest.LogCaptureFixture
) -> None:
    connect(alice_client, google)
    kept = (
        str(list(Credential.objects.values())) + str(list(Consent.objects.values())) + str(dict(alice_client.session))
    )
    kept += alice_client.get("/settings/api/").content.decode() + caplog.text + str(getattr(cache, "_cache", ""))
    for token in (*google.access_tokens, *google.refresh_tokens, APP["secret"]):
        assert token not in kept
