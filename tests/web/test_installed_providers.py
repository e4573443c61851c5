"""An installed provider on the page and in the API: its card, its fields, its check in its own words."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from apikeys.models import Credential
from digitalme.accounts.models import User
from providers import definitions
from tests.fakes import FakeProvider, Manner, Reply
from tests.web.test_api_keys import card

pytestmark = pytest.mark.django_db
FOLDER = Path(__file__).resolve().parents[2] / "docs" / "providers" / "examples"
KEYS = {
    "mistral": ("api_key", "m" * 32),
    "notion": ("token", "ntn_" + "n" * 30),
    "linear": ("token", "lin_api_" + "l" * 30),
}
GOOD = {
    "mistral": {"object": "list", "data": []},
    "notion": {"object": "user", "name": "Bot"},
    "linear": {"data": {"viewer": {"id": "1", "name": "Ann"}}},
}


def connect(client: Client, slug: str, key: str = "") -> Any:
    name, good = KEYS[slug]
    return client.post(f"/settings/api/{slug}/key/", {name: key or good}, headers={"HX-Request": "true"})


@pytest.fixture
def examples(settings: Any, provider: FakeProvider) -> FakeProvider:
    """The three examples, installed and reached at the fake provider."""
    for slug in KEYS:
        definitions.install((FOLDER / f"{slug}.toml").read_text())
    settings.DIGITALME_UPSTREAMS = dict.fromkeys(KEYS, provider.url)
    return provider


@pytest.mark.parametrize("slug", KEYS)
def test_a_key_for_an_example_is_entered_tested_and_kept(
    slug: str, examples: FakeProvider, alice: User, alice_client: Client
) -> None:
    examples.manner = Manner(reply=lambda seen: Reply(200, GOOD[slug]))
    shown = card(connect(alice_client, slug), slug)
    assert "The key works." in shown
    assert "Connected" in shown
    assert Credential.objects.get(user=alice, provider=slug).status == "valid"
    assert KEYS[slug][1] not in shown


@pytest.mark.parametrize(
    ("slug", "reply", "words"),
    [
        ("mistral", Reply(401, {"message": "Unauthorized"}), "Mistral does not know this key."),
        ("notion", Reply(401, {"object": "error", "code": "unauthorized"}), "Notion does not know this key."),
        ("notion", Reply(403, {"object": "error", "code": "restricted_resource"}), "may not read users"),
        ("notion", Reply(429, {"object": "error", "code": "rate_limited"}), "takes no more requests"),
        (
            "linear",
            Reply(400, {"errors": [{"extensions": {"code": "AUTHENTICATION_ERROR"}}]}),
            "Linear does not know this key.",
        ),
        ("linear", Reply(400, {"errors": [{"extensions": {"code": "RATELIMITED"}}]}), "takes no more requests"),
    ],
)
def test_the_card_says_in_plain_words_what_failed(
    slug: str, reply: Reply, words: str, examples: FakeProvider, alice_client: Client
) -> None:
    examples.manner = Manner(reply=lambda seen: reply)
    assert words in card(connect(alice_client, slug), slug)


@pytest.mark.parametrize("slug", KEYS)
def test_a_key_of_the_wrong_form_is_refused_beside_its_field(
    slug: str, examples: FakeProvider, alice_client: Client
) -> None:
    answer = connect(alice_client, slug, "not a key")
    assert answer.status_code == 422
    assert examples.seen == []


def test_the_form_says_where_to_find_the_key(examples: FakeProvider, alice_client: Client) -> None:
    shown = card(alice_client.get("/settings/api/notion/key/"), "notion")
    assert "Make an internal integration and copy its secret" in shown
    assert "https://www.notion.so/profile/integrations" in shown


def test_the_api_lists_it(examples: FakeProvider, alice_client: Client) -> None:
    listed = {one["slug"]: one for one in alice_client.get("/api/v1/providers/").json()}
    assert (listed["linear"]["name"], listed["linear"]["gateway_path"]) == ("Linear", "/gateway/linear")
    assert listed["linear"]["key_fields"][0]["name"] == "token"
