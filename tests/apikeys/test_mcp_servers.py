"""Keys that bring an address of their own, by page and API: what an address may be, and who gets the token."""

import base64
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from apikeys import resolution
from apikeys.models import Credential
from apikeys.vault import CredentialUnreadable
from digitalme.accounts.models import Membership, Team, User
from tests.address_forms import ATTACKS
from tests.fakes import FakeProvider, Manner

pytestmark = pytest.mark.django_db
TOKEN = "mcp-canary-0123456789"
PLACE = "/api/v1/keys/mcp/notes/"
PAGE = "/settings/api/mcp/key/"
PUBLIC = "https://mcp.example.com/mcp"


@pytest.fixture
def sink() -> Iterator[FakeProvider]:
    """A server inside, which nothing may reach unless the operator names it."""
    with FakeProvider() as fake:
        fake.manner = Manner(body=b'{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":["2026-07-28"]}}')
        yield fake


@pytest.fixture
def named(sink: FakeProvider, settings: Any) -> str:
    """The address of that server, named by the operator."""
    settings.DIGITALME_PRIVATE_HOSTS = frozenset({"127.0.0.1"})
    return f"{sink.url}/mcp"


def put(client: Client, place: str = PLACE, **fields: str) -> Any:
    return client.put(place, {"fields": fields}, content_type="application/json")


def stored() -> Credential:
    return Credential.objects.get(provider="mcp")


def opened() -> dict[str, str]:
    return {name: secret.reveal() for name, secret in resolution.unseal(resolution.resolved(stored())).items()}


# --- Connecting ----------------------------------------------------------------------------------


def test_the_page_connects_and_tests_a_server(alice_client: Client, named: str, sink: FakeProvider) -> None:
    form = alice_client.get(f"{PAGE}?new=1").content.decode()
    assert all(f'name="{field}"' in form for field in ("url", "token", "header", "label"))
    answer = alice_client.post(f"{PAGE}?new=1", {"url": named, "token": TOKEN, "label": "notes"}, follow=True)
    shown = answer.content.decode()
    assert "The MCP server answers." in shown
    assert TOKEN not in shown
    assert (stored().label, stored().status, stored().destination) == ("notes", "valid", [named])
    assert sink.seen[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_the_api_connects_and_tests_a_server(alice_client: Client, named: str) -> None:
    assert put(alice_client, url=named, token=TOKEN).status_code == 201
    outcome = alice_client.post(f"{PLACE}test/").json()
    assert (outcome["category"], outcome["detail"]["facts"]) == ("valid", {"protocol": "2026-07-28"})


def test_a_server_may_want_no_token(alice_client: Client, named: str, sink: FakeProvider) -> None:
    assert put(alice_client, url=named).status_code == 201
    alice_client.post(f"{PLACE}test/")
    assert "authorization" not in sink.seen[0].headers


# --- T11: where it may be --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        *(url for url in ATTACKS if url == url.strip()),
        "https://mcp.example.com/mcp?token=x",
        "https://mcp.example.com/#x",
    ],
)
def test_no_form_of_address_is_stored(url: str, alice_client: Client, sink: FakeProvider) -> None:
    answer = put(alice_client, url=url, token=TOKEN)
    assert (answer.status_code, answer.json()["data"]["field"]) == (422, "url")
    page = alice_client.post(f"{PAGE}?new=1", {"url": url, "token": TOKEN, "label": "notes"})
    assert page.status_code == 422
    assert TOKEN not in answer.content.decode() + page.content.decode()
    assert not Credential.objects.exists()
    assert sink.seen == []


def test_the_sink_is_closed_to_everybody_until_the_operator_names_it(alice_client: Client, sink: FakeProvider) -> None:
    port = sink.url.rpartition(":")[2]
    for url in (sink.url, f"http://localhost:{port}/mcp", f"https://127.0.0.1:{port}/mcp"):
        assert put(alice_client, url=url, token=TOKEN).status_code == 422
    assert sink.seen == []


def test_a_name_that_leads_inside_is_stored_but_never_reached(alice_client: Client, sink: FakeProvider) -> None:
    assert put(alice_client, url="https://localhost/mcp", token=TOKEN).status_code == 201
    outcome = alice_client.post(f"{PLACE}test/").json()
    assert (outcome["category"], "not on the public internet" in outcome["message"]) == ("network", True)


def test_a_server_that_is_named_no_more_is_not_asked(
    alice_client: Client, named: str, sink: FakeProvider, settings: Any
) -> None:
    put(alice_client, url=named, token=TOKEN)
    settings.DIGITALME_PRIVATE_HOSTS = frozenset()
    assert alice_client.post(f"{PLACE}test/").json()["category"] == "malformed"
    assert sink.seen == []


# --- T31: the address changes, the token does not go along --------------------------------------------


def test_the_page_keeps_the_token_for_the_same_address_alone(
    alice_client: Client, named: str, sink: FakeProvider
) -> None:
    put(alice_client, url=named, token=TOKEN)
    place = f"{PAGE}?label=notes"
    form = alice_client.get(place).content.decode()
    assert "Leave it empty to keep the one there is." in form
    assert named in form
    assert TOKEN not in form
    kept = alice_client.post(place, {"url": named, "token": "", "header": "X-Tool-Key"}, follow=True)
    assert kept.status_code == 200
    assert opened() == {"url": named, "token": TOKEN, "header": "X-Tool-Key"}
    before = stored()
    with FakeProvider() as other:
        for url in (f"{other.url}/mcp", named + "2", PUBLIC):
            refused = alice_client.post(place, {"url": url, "token": ""})
            assert refused.status_code == 422
            assert "enter this one again" in refused.content.decode()
        assert (stored().version, stored().sealed) == (before.version, before.sealed)
        moved = alice_client.post(place, {"url": f"{other.url}/mcp", "token": "another-token"}, follow=True)
        assert moved.status_code == 200
        assert {seen.headers["authorization"] for seen in other.seen} == {"Bearer another-token"}
    assert all("authorization" in seen.headers or seen.headers["x-tool-key"] == TOKEN for seen in sink.seen)


def test_the_api_changes_no_address_alone(alice_client: Client, named: str) -> None:
    put(alice_client, url=named, token=TOKEN)
    changes: list[dict[str, Any]] = [{"fields": {"url": PUBLIC}}, {"destination": [PUBLIC]}]
    for change in (*changes, {"url": PUBLIC}, {"key": PUBLIC}):
        answer = alice_client.patch(PLACE, change, content_type="application/json")
        assert answer.status_code == 400
    assert put(alice_client, url=PUBLIC).status_code == 200
    assert opened() == {"url": PUBLIC}, "a whole key without a token has none"


def test_an_address_that_is_changed_in_the_table_opens_nothing(
    alice_client: Client, named: str, sink: FakeProvider, bob: User
) -> None:
    put(alice_client, url=named, token=TOKEN)
    mine = stored()
    forged = base64.b64encode(b"https://evil.test/mcp").decode()
    changes: list[dict[str, Any]] = [{"destination": [PUBLIC]}, {"destination": []}]
    for change in (*changes, {"sealed": {**mine.sealed, "url": forged}}):
        Credential.objects.filter(pk=mine.pk).update(**change)
        answer = alice_client.post(f"{PLACE}test/")
        assert (answer.status_code, answer.json()["code"]) == (500, "DecryptionFailed")
        Credential.objects.filter(pk=mine.pk).update(sealed=mine.sealed, destination=mine.destination)
    assert sink.seen == []


def test_the_address_of_another_key_opens_nothing(alice_client: Client, named: str) -> None:
    put(alice_client, url=named, token=TOKEN)
    put(alice_client, "/api/v1/keys/mcp/evil/", url=PUBLIC, token="other")
    mine, evil = (Credential.objects.get(label=label) for label in ("notes", "evil"))
    Credential.objects.filter(pk=mine.pk).update(
        sealed={**mine.sealed, "url": evil.sealed["url"]}, destination=evil.destination
    )
    mine.refresh_from_db()
    with pytest.raises(CredentialUnreadable):
        resolution.unseal(resolution.resolved(mine))


# --- T32: somebody else's ------------------------------------------------------------------------------


def test_nobody_sees_or_touches_anothers_server(
    alice_client: Client, charlie_client: Client, bob_client: Client, team: Team, named: str
) -> None:
    assert Membership.objects.filter(team=team).count() == 2
    put(alice_client, url=named, token=TOKEN)
    for client in (charlie_client, bob_client):
        assert client.get(PLACE).status_code == 404
        assert client.post(f"{PLACE}test/").status_code == 404
        assert client.patch(PLACE, {"display_name": "x"}, content_type="application/json").status_code == 404
        assert client.delete(PLACE).status_code == 404
        assert client.get(f"{PAGE}?label=notes").status_code == 404
        assert named not in client.get("/settings/api/").content.decode()
    assert opened()["token"] == TOKEN


def test_the_card_says_where_programs_reach_it_and_where_it_goes(alice_client: Client, named: str) -> None:
    put(alice_client, url=named, token=TOKEN)
    shown = alice_client.get("/settings/api/").content.decode()
    found = re.search(r'<article[^>]*id="provider-mcp-notes".*?</article>', shown, re.DOTALL)
    assert found
    assert "<code>/gateway/mcp/notes</code>" in found.group()
    assert f"<code>{named}</code>" in found.group()
    assert TOKEN not in shown
