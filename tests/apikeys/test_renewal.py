"""Access tokens that live for an hour: renewed before a call, once for all, the newest kept."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from apikeys import checks, keys, rechecks, renewal, resealing, resolution
from apikeys.models import Consent, Credential
from apikeys.resolution import ResolvedKey
from digitalme.accounts import roles
from digitalme.accounts.models import Team, User
from digitalme.audit.models import AuditEvent
from digitalme.errors import KeyNotFound, ProviderUnavailable
from providers import registry
from providers.secrets import Secret
from tests.fakes import Reply
from tests.letters import sent
from tests.oauth_server import OAuthServer, connected, playing

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_tokens_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "LOOK_SECONDS", 0.01)


@pytest.fixture(params=["google", "slack", "github"])
def server(request: pytest.FixtureRequest, settings: Any) -> Iterator[OAuthServer]:
    """Each provider whose access tokens end, about to."""
    with playing(request.param, settings) as one:
        one.lifetime = 30
        yield one


@pytest.fixture
def google(settings: Any) -> Iterator[OAuthServer]:
    with playing("google", settings) as one:
        one.lifetime = 30
        yield one


@pytest.fixture
def github(settings: Any) -> Iterator[OAuthServer]:
    with playing("github", settings) as one:
        one.lifetime = 30
        yield one


def connect(user: User, server: OAuthServer) -> Credential:
    return connected(server, user)


def resolved(credential: Credential) -> ResolvedKey:
    return resolution.resolved(Credential.objects.select_related("salt").get(pk=credential.pk))


def opened(credential: Credential) -> dict[str, str]:
    return {name: one.reveal() for name, one in resolution.unseal(resolved(credential)).items()}


def token_of(server: OAuthServer, fields: Any) -> str:
    oauth_ = registry.get(server.slug).manifest.oauth
    assert oauth_
    return str(fields[oauth_.field].reveal())


def renewed(credential: Credential) -> Any:
    """Do what a call does with a key that it has just read."""
    key = resolved(credential)
    return renewal.fresh(key, resolution.unseal(key))


def test_a_token_in_its_last_minute_is_renewed_and_stored(alice: User, server: OAuthServer) -> None:
    credential = connect(alice, server)
    before, first = opened(credential), credential.fingerprint
    server.lifetime = 3600
    fields = renewed(credential)
    assert token_of(server, fields) == server.access_tokens[-1]
    after = opened(credential)
    assert after[renewal.REFRESH] == list(server.refresh_tokens)[-1] != before[renewal.REFRESH]
    credential.refresh_from_db()
    assert (credential.version, credential.status) == (1, "unknown")
    assert credential.fingerprint != first
    consent = Consent.objects.get()
    assert consent.renewed_at is not None
    assert (consent.claim, consent.claimed_until) == (None, None)
    renewed(credential)
    assert len(server.renewals()) == 1


def test_a_token_that_lives_on_is_used_as_it_is(alice: User, server: OAuthServer) -> None:
    server.lifetime = 3600
    renewed(connect(alice, server))
    assert server.renewals() == []


def test_a_refresh_token_goes_on_where_no_new_one_comes(alice: User, google: OAuthServer) -> None:
    google.rotates = False
    credential = connect(alice, google)
    before = opened(credential)[renewal.REFRESH]
    renewed(credential)
    renewed(credential)
    assert opened(credential)[renewal.REFRESH] == before
    assert len(google.renewals()) == 2


def at_once(count: int, deed: Callable[[], Any]) -> list["Future[Any]"]:
    """Start the deed in so many threads, each with a connection of its own."""

    def one() -> Any:
        try:
            return deed()
        finally:
            connection.close()

    pool = ThreadPoolExecutor(count)
    return [pool.submit(one) for _ in range(count)]


def test_renewals_at_once_ask_once_and_keep_the_newest(alice: User, server: OAuthServer) -> None:
    credential = connect(alice, server)
    server.lifetime, server.gate = 3600, threading.Event()
    key = resolved(credential)
    fields = resolution.unseal(key)
    running = at_once(8, lambda: renewal.fresh(key, fields))
    end = time.monotonic() + 10
    while not server.renewals() and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.1)  # for others that would ask too
    server.gate.set()
    tokens = {token_of(server, one.result(20)) for one in running}
    assert tokens == {server.access_tokens[-1]}
    assert len(server.renewals()) == 1
    assert opened(credential)[renewal.REFRESH] == list(server.refresh_tokens)[-1]


def test_nobody_else_waits_while_a_token_is_renewed(alice: User, charlie: User, google: OAuthServer) -> None:
    credential = connect(alice, google)
    google.gate = threading.Event()
    (running,) = at_once(1, lambda: renewed(credential))
    end = time.monotonic() + 10
    while not google.renewals() and time.monotonic() < end:
        time.sleep(0.01)
    Credential.objects.filter(pk=credential.pk).update(last_used_at=timezone.now())
    User.objects.filter(pk=charlie.pk).update(name="Charles")
    assert not running.done()
    google.gate.set()
    running.result(20)


def test_an_access_that_was_taken_back_is_told_once_and_asked_for_no_more(alice: User, server: OAuthServer) -> None:
    credential = connect(alice, server)
    server.revoked = True
    for _ in range(3):
        with pytest.raises(KeyNotFound) as caught:
            renewed(credential)
        assert caught.value.data["reason"] == "consent"
        assert "Connect again" in caught.value.message
    assert len(server.renewals()) == 1
    credential.refresh_from_db()
    assert credential.status == "expired"
    assert "has ended" in credential.status_detail
    assert Consent.objects.get().ended_at is not None
    event = AuditEvent.objects.order_by("sequence").last()
    assert event is not None
    assert (event.action, event.facts["category"]) == ("credential.tested", "expired")
    for _ in range(2):
        rechecks.run(now=timezone.now())
    (letter,) = sent()
    assert letter.to == [alice.email]
    assert letter.subject == f"Your access to {registry.get(server.slug).name} has ended"
    assert "http://127.0.0.1:8000/settings/api/" in letter.body
    assert "canary" not in letter.body


@pytest.mark.parametrize("whose", ["team", "house"])
def test_those_who_look_after_a_shared_access_are_told_that_it_has_ended(
    whose: str, alice: User, bob: User, team: Team, github: OAuthServer
) -> None:
    roles.assign(bob, roles.Role.SUPER_ADMIN)
    actor, owner = (alice, keys.Owner("team", team.pk)) if whose == "team" else (bob, keys.SYSTEM)
    credential = connected(github, actor, owner)
    github.revoked = True
    with pytest.raises(KeyNotFound, match="can connect again at" if whose == "team" else "add a key of yours"):
        renewed(credential)
    rechecks.tell(now=timezone.now())
    (letter,) = sent()
    assert letter.to == [actor.email]
    assert ("/settings/team/" if whose == "team" else "/admin/apikeys/credential/") in letter.body


def test_one_who_sees_it_in_a_test_gets_no_mail(alice: User, google: OAuthServer) -> None:
    credential = connect(alice, google)
    google.revoked = True
    with pytest.raises(KeyNotFound):
        checks.test_credential(resolved_row(credential), actor=alice)
    assert rechecks.tell(now=timezone.now()) == 0
    assert sent() == []


def test_a_new_consent_after_that_serves_again(alice: User, google: OAuthServer) -> None:
    credential = connect(alice, google)
    google.revoked = True
    with pytest.raises(KeyNotFound):
        renewed(credential)
    google.revoked, google.lifetime = False, 3600
    again = connect(alice, google)
    assert (again.pk, again.version, again.status) == (credential.pk, 2, "unknown")
    renewed(again)


@pytest.mark.parametrize("reply", [Reply(503, b"no"), Reply(429, {}), Reply(401, {"error": "invalid_client"})])
def test_a_provider_that_cannot_renew_leaves_the_last_seconds(reply: Reply, alice: User, google: OAuthServer) -> None:
    credential = connect(alice, google)
    google.token_reply = reply
    fields = renewed(credential)
    assert token_of(google, fields) == google.access_tokens[-1]
    renewed(credential)
    assert len(google.renewals()) == 1  # it is let rest
    credential.refresh_from_db()
    assert credential.status == "unknown"
    assert Consent.objects.get().ended_at is None


def test_without_seconds_left_the_call_is_refused_for_now(alice: User, google: OAuthServer) -> None:
    credential = connect(alice, google)
    key = resolved(credential)
    fields = {**resolution.unseal(key), renewal.EXPIRY: Secret("1000")}
    with transaction.atomic():
        keys.reseal_fields(credential, registry.get("google"), fields)
    google.token_reply = Reply(503, b"no")
    with pytest.raises(ProviderUnavailable):
        renewed(credential)
    Consent.objects.update(rest_until=timezone.now() - timedelta(seconds=1))
    google.token_reply, google.lifetime = None, 3600
    renewed(credential)


def test_a_claim_of_a_killed_process_runs_out(alice: User, google: OAuthServer) -> None:
    credential = connect(alice, google)
    Consent.objects.update(claim=credential.pk, claimed_until=timezone.now() - timedelta(seconds=1))
    google.lifetime = 3600
    renewed(credential)
    assert len(google.renewals()) == 1


def test_who_waits_in_vain_uses_what_there_is(
    alice: User, google: OAuthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    credential = connect(alice, google)
    Consent.objects.update(claim=credential.pk, claimed_until=timezone.now() + timedelta(seconds=30))
    monkeypatch.setattr(renewal, "WAIT_SECONDS", 0.0)
    assert token_of(google, renewed(credential)) == google.access_tokens[-1]
    assert google.renewals() == []


def test_a_key_that_was_replaced_meanwhile_is_not_touched(alice: User, google: OAuthServer) -> None:
    credential = connect(alice, google)
    key = resolved(credential)
    fields = resolution.unseal(key)
    keys.set_key(
        actor=alice,
        owner=keys.Owner("user", alice.pk),
        provider=registry.get("google"),
        fields={"api_key": "AIza" + "x" * 35},
    )
    assert renewal.fresh(key, fields) == fields
    assert google.renewals() == []
    assert set(opened(credential)) == {"api_key"}


def test_a_token_that_was_renewed_by_another_is_not_taken_for_the_end(
    alice: User, google: OAuthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    credential = connect(alice, google)
    key = resolved(credential)
    stored = resolution.unseal(key)
    renewing = renewal._Renewal(key, registry.get("google"), None, time.sleep)
    google.lifetime = 3600
    renewed(credential)
    assert token_of(google, renewing._asked(stored)) == google.access_tokens[-1]
    assert Consent.objects.get().ended_at is None


def test_a_re_seal_does_not_bring_back_an_older_token(
    alice: User, google: OAuthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    credential = connect(alice, google)
    row = Credential.objects.select_related("salt").get(pk=credential.pk)
    columns = {"sealed": row.sealed}
    renewed(credential)
    assert resealing._swap(row, columns) == 0
    assert opened(credential)[renewal.REFRESH] == list(google.refresh_tokens)[-1]


def test_a_test_of_the_key_renews_it_first(alice: User, server: OAuthServer) -> None:
    credential = connect(alice, server)
    server.lifetime = 3600
    assert checks.test_credential(resolved_row(credential)).category == "valid"
    assert len(server.renewals()) == 1


def resolved_row(credential: Credential) -> Credential:
    return Credential.objects.select_related("salt").get(pk=credential.pk)


def test_an_ordinary_key_is_ready_without_a_look(alice: User, settings: Any) -> None:
    fields = {"api_key": Secret("sk-x")}
    key = ResolvedKey(resolution.KeySource.USER, "openai")
    assert renewal.ready(key, registry.get("openai").manifest, fields) is fields
