"""/settings/security/: access tokens and the ways to sign in."""

import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone

from apikeys import keys
from digitalme.accounts import roles, tokens
from digitalme.accounts.models import AccessToken, User
from digitalme.accounts.roles import Role
from digitalme.audit import log as trail
from digitalme.audit.actions import Action, ActorKind
from tests.web.conftest import add_key, queries_of

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}
PAGE = "/settings/security/"
MAKE = "/settings/security/tokens/"
FORM = {"name": "laptop", "lifetime": "30", "scopes": ["gateway"]}


def revoke_path(token: AccessToken) -> str:
    return f"/settings/security/tokens/{token.pk}/revoke/"


def test_it_invites_to_make_the_first_token(alice_client: Client) -> None:
    assert "No tokens yet" in alice_client.get(PAGE).content.decode()


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_a_token_is_shown_once(alice_client: Client, alice: User, headers: dict[str, str]) -> None:
    answer = alice_client.post(MAKE, FORM, headers=headers)
    found = re.search(r"dm_[0-9A-Za-z]{38}", answer.content.decode())
    assert found
    assert AccessToken.objects.get(user=alice).digest == tokens.digest(found.group())
    assert "no-store" in answer["Cache-Control"]
    assert found.group() not in alice_client.get(PAGE).content.decode()


def test_a_token_has_the_chosen_lifetime_and_scopes(alice_client: Client, alice: User) -> None:
    alice_client.post(MAKE, {"name": "job", "lifetime": "7", "scopes": ["gateway", "api:read"]})
    token = AccessToken.objects.get(user=alice)
    assert token.scopes == ["gateway", "api:read"]
    assert token.expires_at
    assert timedelta(days=6) < token.expires_at - timezone.now() <= timedelta(days=7)


def test_a_token_may_have_no_end(alice_client: Client, alice: User) -> None:
    alice_client.post(MAKE, {**FORM, "lifetime": "never"})
    assert AccessToken.objects.get(user=alice).expires_at is None


@pytest.mark.parametrize(
    "wrong",
    [{"name": ""}, {"lifetime": "9999"}, {"lifetime": ""}, {"scopes": []}, {"scopes": ["*"]}, {"name": "n" * 101}],
)
def test_a_token_that_cannot_be_is_refused(alice_client: Client, wrong: dict[str, Any]) -> None:
    assert alice_client.post(MAKE, {**FORM, **wrong}).status_code == 422
    assert not AccessToken.objects.exists()


def test_the_list_tells_last_use_and_expiry(alice_client: Client, alice: User) -> None:
    token, _ = tokens.issue(user=alice, name="laptop", lifetime_days=30)
    now = timezone.now()
    AccessToken.objects.filter(pk=token.pk).update(
        last_used_at=now - timedelta(minutes=4), expires_at=now - timedelta(days=1)
    )
    text = alice_client.get(PAGE).content.decode()
    assert "Last used 4\xa0minutes ago" in text
    assert "Expired" in text


def test_revoking_asks_first(alice_client: Client, alice: User) -> None:
    token, _ = tokens.issue(user=alice, name="laptop")
    assert "Revoke “laptop”?" in alice_client.get(revoke_path(token)).content.decode()
    token.refresh_from_db()
    assert token.state == "active"


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_revoking_revokes(alice_client: Client, alice: User, headers: dict[str, str]) -> None:
    token, _ = tokens.issue(user=alice, name="laptop")
    answer = alice_client.post(revoke_path(token), headers=headers, follow=True)
    token.refresh_from_db()
    assert token.state == "revoked"
    assert "is revoked" in answer.content.decode()


@pytest.mark.parametrize("method", ["get", "post"])
def test_charlie_gets_404(charlie_client: Client, alice: User, method: str) -> None:
    token, _ = tokens.issue(user=alice, name="laptop")
    assert getattr(charlie_client, method)(revoke_path(token)).status_code == 404
    token.refresh_from_db()
    assert token.state == "active"


def test_an_unknown_token_gets_404(alice_client: Client) -> None:
    assert alice_client.post(f"/settings/security/tokens/{uuid4()}/revoke/").status_code == 404


def test_another_persons_tokens_are_not_listed(charlie_client: Client, alice: User) -> None:
    tokens.issue(user=alice, name="alices laptop")
    assert "alices laptop" not in charlie_client.get(PAGE).content.decode()


def test_the_number_of_queries_does_not_grow_with_tokens(alice_client: Client, alice: User) -> None:
    few = queries_of(alice_client, PAGE)
    for number in range(5):
        tokens.issue(user=alice, name=f"token {number}")
    assert queries_of(alice_client, PAGE) == few <= 9


def test_recent_activity_says_in_plain_words_what_happened(alice_client: Client, alice: User, bob: User) -> None:
    credential = add_key(alice)
    roles.assign(bob, Role.ADMIN)
    keys.set_active(actor=bob, credential=credential, active=False)
    alice_client.post(MAKE, FORM, REMOTE_ADDR="203.0.113.9")
    shown = alice_client.get(PAGE).content.decode().partition('id="activity"')[2]
    assert "Access token made" in shown
    assert "by you · from 203.0.113.9" in shown
    assert "OpenAI key switched off" in shown
    assert "by an administrator" in shown
    assert str(bob.pk) not in shown
    assert shown.index("Access token made") < shown.index("switched off") < shown.index("OpenAI key saved")


def test_another_person_s_activity_is_not_shown(charlie_client: Client, alice: User) -> None:
    add_key(alice)
    assert "OpenAI key" not in charlie_client.get(PAGE).content.decode()


@pytest.mark.parametrize("action", Action)
def test_every_action_has_words_and_an_icon(alice_client: Client, alice: User, action: Action) -> None:
    with transaction.atomic():
        trail.record(action, target=f"user:{alice.pk}", subject=f"user:{alice.pk}", kind=ActorKind.COMMAND)
    shown = alice_client.get(PAGE).content.decode().partition('id="activity"')[2]
    assert "<svg" in shown.partition("</li>")[0]
    assert "." not in action or action.value not in shown
