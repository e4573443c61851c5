"""Keys whose tokens live for an hour, through a running gateway: renewed before the call, not on the event loop."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from apikeys import keys, renewal
from apikeys.models import Credential
from digitalme.accounts.models import User
from providers import registry
from tests.fakes import Reply, Seen
from tests.gateway.conftest import Person, WebProcess
from tests.oauth_server import APP, OAuthServer, connected, playing
from tests.providers.test_google import TOKEN, account

pytestmark = pytest.mark.django_db(transaction=True)
FILES = {"kind": "drive#fileList", "files": [{"id": "1", "name": "Notes"}]}


class Google(OAuthServer):
    """Google with a Drive of one file."""

    def _api(self, seen: Seen) -> Reply:
        known = [*self.access_tokens, TOKEN]
        if seen.headers.get("authorization", "").removeprefix("Bearer ") not in known[-2:]:
            return Reply(401, {"error": {"code": 401, "message": "no", "status": "UNAUTHENTICATED"}})
        return Reply(200, FILES)


@pytest.fixture
def google(settings: Any) -> Iterator[OAuthServer]:
    with playing("google", settings) as one:
        yield Google("google", one.fake, lifetime=30)


@pytest.fixture
def gateway(google: OAuthServer, start_web: Any) -> WebProcess:
    app = {"DIGITALME_OAUTH_GOOGLE_ID": APP["id"], "DIGITALME_OAUTH_GOOGLE_SECRET": APP["secret"]}
    web: WebProcess = start_web(google.url, **app)
    return web


def connect(user: User, google: OAuthServer) -> None:
    connected(google, user)


def files(gateway: WebProcess, person: Person) -> requests.Response:
    return requests.get(f"{gateway.gateway('google')}/drive/v3/files", headers=person.headers, timeout=30)


def test_a_call_renews_a_token_in_its_last_minute(gateway: WebProcess, google: OAuthServer, alice: Person) -> None:
    connect(alice.user, google)
    google.lifetime = 3600
    assert files(gateway, alice).json() == FILES
    assert files(gateway, alice).json() == FILES
    assert len(google.renewals()) == 1


def test_calls_at_once_renew_once(gateway: WebProcess, google: OAuthServer, alice: Person) -> None:
    connect(alice.user, google)
    google.lifetime = 3600
    with ThreadPoolExecutor(12) as pool:
        answers = [one.result() for one in [pool.submit(files, gateway, alice) for _ in range(12)]]
    assert [answer.status_code for answer in answers] == [200] * 12
    assert len(google.renewals()) == 1


def test_two_processes_renew_once(gateway: WebProcess, google: OAuthServer, alice: Person, start_web: Any) -> None:
    app = {"DIGITALME_OAUTH_GOOGLE_ID": APP["id"], "DIGITALME_OAUTH_GOOGLE_SECRET": APP["secret"]}
    other = start_web(google.url, **app)
    connect(alice.user, google)
    google.lifetime = 3600
    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(files, (gateway, other)[number % 2], alice) for number in range(8)]
        assert [one.result().status_code for one in running] == [200] * 8
    assert len(google.renewals()) == 1


def test_an_access_that_was_taken_back_is_refused_and_shown_on_the_card(
    gateway: WebProcess, google: OAuthServer, alice: Person, client: Any
) -> None:
    connect(alice.user, google)
    google.revoked = True
    answer = files(gateway, alice)
    assert answer.status_code == 404
    assert "Connect again at" in answer.json()["error"]["message"]
    assert alice.record().status == "failed"
    assert Credential.objects.get().status == "expired"
    client.force_login(alice.user)
    card = client.get("/settings/api/").content.decode()
    assert "Key expired" in card
    assert "Calls to Google APIs are refused until you connect again." in card
    assert 'class="button primary" href="/settings/api/google/connect/"' in card


def test_a_service_account_signs_once_for_many_calls(gateway: WebProcess, google: OAuthServer, alice: Person) -> None:
    owner = keys.Owner("user", alice.user.pk)
    file = account(token_uri="http://127.0.0.1:9/token", universe_domain="127.0.0.1")
    keys.set_key(actor=None, owner=owner, provider=registry.get("google"), fields={"service_account": file})
    google.token_reply = Reply(200, {"access_token": TOKEN, "expires_in": 3599})
    for _ in range(3):
        assert files(gateway, alice).json() == FILES
    assert len(google.token_calls()) == 1
    assert renewal._signed == {}


def test_the_official_sdk_reads_through_the_gateway(gateway: WebProcess, google: OAuthServer, alice: Person) -> None:
    from google.oauth2.credentials import Credentials
    from googleapiclient.discovery import build
    from googleapiclient.errors import HttpError

    connect(alice.user, google)
    with build(
        "drive",
        "v3",
        credentials=Credentials(alice.token),  # type: ignore[no-untyped-call]
        static_discovery=True,
        client_options={"api_endpoint": gateway.gateway("google", "/drive/v3/")},
    ) as drive:
        assert drive.files().list(pageSize=1, q="name = 'Notes'").execute() == FILES
        google.revoked = True
        with pytest.raises(HttpError) as caught:
            drive.files().get(fileId="a/b").execute()
    assert "Connect again" in caught.value.reason
    called = [seen.path for seen in google.fake.seen if "/drive/" in seen.path]
    assert called == ["/drive/v3/files?pageSize=1&q=name+%3D+%27Notes%27&alt=json"]
