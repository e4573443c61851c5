"""/settings/api/: a card for each provider."""

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apikeys.models import Credential
from digitalme.accounts.models import Membership, Team, User
from tests.fakes import FakeProvider
from tests.web.conftest import GOOD_KEYS, add_key, queries_of

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}
PAGE = "/settings/api/"
KEY = "/settings/api/openai/key/"
TEST = "/settings/api/openai/test/"
REMOVE = "/settings/api/openai/remove/"


def card(answer: Any, slug: str) -> str:
    """The HTML of one provider's card."""
    text = answer.content.decode()
    found = re.search(rf'<article[^>]*id="provider-{slug}".*?</article>', text, re.DOTALL)
    assert found, f"no card of {slug}"
    return found.group()


def test_it_shows_a_card_for_each_provider(alice_client: Client) -> None:
    answer = alice_client.get(PAGE)
    assert answer.status_code == 200
    assert "No key yet" in card(answer, "openai")
    assert "No key yet" in card(answer, "anthropic")
    assert "No key needed" in card(answer, "sandbox")


def test_it_says_when_the_house_key_serves(alice_client: Client, settings: Any) -> None:
    settings.DIGITALME_SYSTEM_KEYS = {"openai": GOOD_KEYS["openai"]}
    answer = alice_client.get(PAGE)
    shown = card(answer, "openai")
    assert "Demo keys on" in answer.content.decode()
    assert "Demo key" in shown
    assert "0 of 50" in shown
    assert GOOD_KEYS["openai"][-4:] not in shown


def test_it_says_when_the_team_key_serves(bob_client: Client, alice: User, bob: User, team: Team) -> None:
    assert Membership.objects.filter(team=team).count() == 2
    credential = add_key(alice)
    Credential.objects.filter(pk=credential.pk).update(user=None, team=team)
    assert "Team key" in card(bob_client.get(PAGE), "openai")


@pytest.mark.parametrize(
    ("status", "words"),
    [("valid", "Connected"), ("limited", "Connected, limited"), ("invalid", "Key rejected"), ("unknown", "Not tested")],
)
def test_the_chip_says_how_the_own_key_stands(alice_client: Client, alice: User, status: str, words: str) -> None:
    Credential.objects.filter(pk=add_key(alice).pk).update(status=status)
    shown = card(alice_client.get(PAGE), "openai")
    assert "Your key" in shown
    assert f">{words}</span>" in shown


def test_a_key_that_is_switched_off_is_shown_so(alice_client: Client, alice: User) -> None:
    Credential.objects.filter(pk=add_key(alice).pk).update(is_active=False)
    assert "Switched off" in card(alice_client.get(PAGE), "openai")


def test_it_hides_the_secret(alice_client: Client, alice: User) -> None:
    credential = add_key(alice)
    text = alice_client.get(PAGE).content.decode()
    assert GOOD_KEYS["openai"] not in text
    assert credential.hint in text
    assert credential.sealed["api_key"] not in text


def test_the_own_key_of_one_is_not_shown_to_another(charlie_client: Client, alice: User) -> None:
    credential = add_key(alice)
    answer = charlie_client.get(PAGE)
    assert credential.hint not in answer.content.decode()
    assert "No key yet" in card(answer, "openai")


def test_the_page_is_kept_out_of_every_cache(alice_client: Client) -> None:
    answer = alice_client.get(PAGE)
    assert "no-store" in answer["Cache-Control"]
    assert 'hx-history="false"' in answer.content.decode()


def test_the_form_is_a_page_of_its_own(alice_client: Client) -> None:
    shown = card(alice_client.get(KEY), "openai")
    assert 'type="password"' in shown
    assert 'autocomplete="new-password"' in shown
    assert f'action="{KEY}"' in shown


def test_for_htmx_the_form_is_the_card_alone(alice_client: Client) -> None:
    text = alice_client.get(KEY, headers=HTMX).content.decode().strip()
    assert text.startswith("<article")
    assert text.count("<article") == 1


def test_a_new_key_is_saved_then_tested(alice_client: Client, alice: User, provider: FakeProvider) -> None:
    answer = alice_client.post(KEY, {"api_key": GOOD_KEYS["openai"]}, follow=True)
    assert answer.redirect_chain == [(f"{PAGE}#provider-openai", 302)]
    assert Credential.objects.get(user=alice).status == "valid"
    assert re.search(r"Saved\. OpenAI answered in \d+ ms\.", answer.content.decode())
    assert provider.seen[0].headers["authorization"] == f"Bearer {GOOD_KEYS['openai']}"


def test_for_htmx_the_result_stands_on_the_card(alice_client: Client, provider: FakeProvider) -> None:
    answer = alice_client.post(KEY, {"api_key": GOOD_KEYS["openai"]}, headers=HTMX)
    shown = card(answer, "openai")
    assert "Saved. OpenAI answered in" in shown
    assert "Connected" in shown


def test_white_space_around_a_key_does_not_matter(alice_client: Client, alice: User, provider: FakeProvider) -> None:
    alice_client.post(KEY, {"api_key": f"  {GOOD_KEYS['openai']}\n"})
    assert Credential.objects.filter(user=alice).exists()


def test_a_rejected_key_is_kept_and_said_to_be_rejected(
    alice_client: Client, alice: User, provider: FakeProvider
) -> None:
    provider.manner.status = 401
    shown = card(alice_client.post(KEY, {"api_key": GOOD_KEYS["openai"]}, headers=HTMX), "openai")
    assert "Key rejected" in shown
    assert Credential.objects.get(user=alice).status == "invalid"


@pytest.mark.parametrize("headers", [{}, HTMX])
@pytest.mark.parametrize(
    "value", ["not a key", "sk-short", "sk-" + "x" * 9000, "sk-" + "a" * 30 + "\r\nX-Evil: 1", "sk-\u201cquoted\u201d"]
)
def test_a_malformed_key_is_refused_at_the_field(
    alice_client: Client, headers: dict[str, str], value: str, provider: FakeProvider
) -> None:
    answer = alice_client.post(KEY, {"api_key": value}, headers=headers)
    shown = card(answer, "openai")
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in shown
    assert 'id="openai-api_key_error"' in shown
    assert value not in answer.content.decode()
    assert provider.seen == []
    assert not Credential.objects.exists()


def test_a_missing_key_is_refused_at_the_field(alice_client: Client) -> None:
    answer = alice_client.post(KEY, {})
    assert answer.status_code == 422
    assert "This field is required" in card(answer, "openai")


def test_replacing_a_key_does_not_show_the_old_one(alice_client: Client, alice: User, provider: FakeProvider) -> None:
    add_key(alice)
    assert GOOD_KEYS["openai"][-4:] not in card(alice_client.get(KEY), "openai")
    new = "sk-proj-" + "z9" * 20
    alice_client.post(KEY, {"api_key": new})
    assert Credential.objects.get(user=alice).hint == new[-4:]


def test_testing_says_what_the_provider_said(alice_client: Client, alice: User, provider: FakeProvider) -> None:
    add_key(alice)
    answer = alice_client.post(TEST, headers=HTMX)
    assert re.search(r"OpenAI answered in \d+ ms", card(answer, "openai"))


def test_without_scripts_testing_leads_back_to_the_card(
    alice_client: Client, alice: User, provider: FakeProvider
) -> None:
    add_key(alice)
    answer = alice_client.post(TEST, follow=True)
    assert answer.redirect_chain == [(f"{PAGE}#provider-openai", 302)]
    assert "OpenAI answered in" in answer.content.decode()


def test_html_in_a_providers_answer_stays_text(alice_client: Client, alice: User, provider: FakeProvider) -> None:
    add_key(alice)
    provider.manner.status = 401
    provider.manner.body = b'{"error": {"message": "<img src=x onerror=alert(1)>"}}'
    assert "<img src=x" not in alice_client.post(TEST, headers=HTMX).content.decode()


def test_removing_asks_first(alice_client: Client, alice: User) -> None:
    add_key(alice)
    assert "Remove your OpenAI key?" in card(alice_client.get(REMOVE), "openai")
    assert Credential.objects.filter(user=alice).exists()


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_removing_removes(alice_client: Client, alice: User, headers: dict[str, str]) -> None:
    add_key(alice)
    answer = alice_client.post(REMOVE, headers=headers, follow=True)
    assert not Credential.objects.filter(user=alice).exists()
    assert "Your OpenAI key is removed." in answer.content.decode()


def test_cancelling_shows_the_card_as_it_was(alice_client: Client, alice: User) -> None:
    add_key(alice)
    answer = alice_client.get(reverse("settings_api_card", args=["openai"]), headers=HTMX)
    assert "Fingerprint" in card(answer, "openai")
    assert alice_client.get(reverse("settings_api_card", args=["openai"])).status_code == 302


@pytest.mark.parametrize("path", [TEST, REMOVE])
def test_charlie_gets_404(charlie_client: Client, alice: User, path: str) -> None:
    add_key(alice)
    assert charlie_client.post(path).status_code == 404
    assert Credential.objects.filter(user=alice).exists()


@pytest.mark.parametrize("path", ["/settings/api/nobody/key/", "/settings/api/sandbox/key/"])
def test_there_is_no_form_where_no_key_can_be(alice_client: Client, path: str) -> None:
    assert alice_client.get(path).status_code == 404
    assert alice_client.post(path, {"api_key": "x"}).status_code == 404


def test_the_number_of_queries_does_not_grow_with_keys(alice_client: Client, alice: User) -> None:
    few = queries_of(alice_client, PAGE)
    add_key(alice)
    add_key(alice, "anthropic")
    assert queries_of(alice_client, PAGE) == few <= 16
