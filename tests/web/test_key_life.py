"""What a card says of a key's life, and how it is changed; several keys of one provider."""

import re
import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apikeys.models import Credential
from digitalme.accounts import tokens
from digitalme.accounts.models import User
from providers.registry import Provider
from tests.web.conftest import add_key
from tests.web.test_api_keys import HTMX, PAGE, card

pytestmark = pytest.mark.django_db
DETAILS = "/settings/api/openai/details/"
NOTES = "/settings/api/notes"
FIELDS = {"password": "hunter2hunter2", "account": "alice"}


def plain(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_the_card_says_when_and_by_what_the_key_was_used(alice_client: Client, alice: User) -> None:
    credential = add_key(alice)
    token, _ = tokens.issue(user=alice, name="laptop")
    use = {"operation": "chat", "model": "gpt-4o", "token": str(token.id), "network": "203.0.113.0/24"}
    Credential.objects.update(last_use=use, last_used_at=timezone.now())
    shown = plain(card(alice_client.get(PAGE), "openai"))
    assert "chat gpt-4o, token laptop, from 203.0.113.0/24" in shown
    assert credential.fingerprint[:5] in shown
    Credential.objects.update(last_use={**use, "token": str(uuid.uuid4())})
    assert "chat gpt-4o, from" in plain(card(alice_client.get(PAGE), "openai"))


def test_the_ends_of_a_key_are_shown_and_changed(alice_client: Client, alice: User) -> None:
    add_key(alice)
    assert "no end" in plain(card(alice_client.get(PAGE), "openai"))
    form = card(alice_client.get(DETAILS, headers=HTMX), "openai")
    assert 'type="date"' in form
    sent = {"display_name": "Work", "expires_on": "2100-01-31", "rotate_by": "2099-12-31", "is_active": "on"}
    shown = plain(card(alice_client.post(DETAILS, sent, headers=HTMX), "openai"))
    assert "Saved." in shown
    assert "Your key: Work" in shown
    assert "31 Jan 2100" in shown
    assert "31 Dec 2099" in shown
    stored = Credential.objects.get()
    assert (stored.expires_at, stored.rotate_by) == (datetime(2100, 2, 1, tzinfo=UTC), date(2099, 12, 31))
    assert stored.version == 1


def test_without_scripts_the_details_are_saved_too(alice_client: Client, alice: User) -> None:
    add_key(alice)
    assert "Details of the OpenAI key" in alice_client.get(DETAILS).content.decode()
    answer = alice_client.post(DETAILS, {"display_name": "Work"}, follow=True)
    assert "Saved." in answer.content.decode()
    assert "Switched off" in card(answer, "openai"), "the box was left empty"


def test_the_day_ends_where_the_person_is(alice_client: Client, alice: User) -> None:
    alice.time_zone = "Pacific/Auckland"
    alice.save()
    add_key(alice)
    answer = alice_client.post(DETAILS, {"expires_on": "2100-01-31", "is_active": "on"}, headers=HTMX)
    assert "31 Jan 2100" in plain(card(answer, "openai"))
    assert Credential.objects.get().expires_at == datetime(2100, 1, 31, 11, tzinfo=UTC)


def test_an_end_that_is_over_is_refused_beside_its_field(alice_client: Client, alice: User) -> None:
    add_key(alice)
    answer = alice_client.post(DETAILS, {"expires_on": "2020-01-31", "is_active": "on"}, headers=HTMX)
    assert answer.status_code == 422
    assert "over already" in card(answer, "openai")
    assert Credential.objects.get().expires_at is None


def test_an_expired_key_is_named_so(alice_client: Client, alice: User) -> None:
    add_key(alice)
    Credential.objects.update(expires_at=timezone.now() - timedelta(days=1), status="valid")
    assert "Key expired" in card(alice_client.get(PAGE), "openai")


def test_somebody_elses_details_do_not_exist(charlie_client: Client, alice: User) -> None:
    add_key(alice)
    assert charlie_client.get(DETAILS).status_code == 404
    assert charlie_client.post(DETAILS, {"display_name": "Mine"}).status_code == 404


def test_the_same_key_set_again_is_recognised(alice_client: Client, provider: Any) -> None:
    from tests.web.conftest import GOOD_KEYS

    url, sent = "/settings/api/openai/key/", {"api_key": GOOD_KEYS["openai"]}
    assert "same key" not in card(alice_client.post(url, sent, headers=HTMX), "openai")
    assert "It is the same key as before." in card(alice_client.post(url, sent, headers=HTMX), "openai")


def add_note(client: Client, label: str, **more: Any) -> Any:
    return client.post(f"{NOTES}/key/?new=1", {**FIELDS, "label": label, **more}, headers=HTMX)


def test_several_keys_have_a_card_each_and_one_to_add_another(
    alice_client: Client, alice: User, notes: Provider
) -> None:
    assert "Add your key" in card(alice_client.get(PAGE), "notes-new")
    assert add_note(alice_client, "home").headers["HX-Redirect"].startswith(PAGE)
    add_note(alice_client, "work")
    page = alice_client.get(PAGE)
    assert "?label=home" in card(page, "notes-home")
    assert "?label=work" in card(page, "notes-work")
    assert "Add your key" in card(page, "notes-new")
    assert "the same key as" in page.content.decode()
    answer = alice_client.post(f"{NOTES}/details/?label=home", {"label": "den", "is_active": "on"}, headers=HTMX)
    assert answer.headers["HX-Redirect"].startswith(PAGE)
    assert "Remove your" in card(alice_client.get(f"{NOTES}/remove/?label=den", headers=HTMX), "notes-den")
    alice_client.post(f"{NOTES}/remove/?label=den", headers=HTMX)
    assert [one.label for one in Credential.objects.all()] == ["work"]


def test_a_label_that_is_taken_or_impossible_is_refused_beside_its_field(
    alice_client: Client, alice: User, notes: Provider
) -> None:
    add_note(alice_client, "home")
    for label in ("home", "Not Good", "v1"):
        answer = add_note(alice_client, label)
        assert answer.status_code == 422
        assert "label" in card(answer, "notes-new")
        assert FIELDS["password"] not in answer.content.decode()
    assert Credential.objects.count() == 1


def test_open_fields_are_shown_and_changed_and_the_secret_stays(
    alice_client: Client, alice: User, notes: Provider
) -> None:
    add_note(alice_client, "home")
    form = card(alice_client.get(f"{NOTES}/key/?label=home", headers=HTMX), "notes-home")
    assert 'value="alice"' in form
    assert FIELDS["password"] not in form
    assert "Leave it empty to keep" in form
    answer = alice_client.post(
        f"{NOTES}/key/?label=home", {"password": "", "account": "bob"}, headers=HTMX
    )  # fmt: skip
    assert answer.status_code == 200
    assert "same key as before" in card(answer, "notes-home")
    assert 'value="bob"' in card(alice_client.get(f"{NOTES}/key/?label=home", headers=HTMX), "notes-home")
