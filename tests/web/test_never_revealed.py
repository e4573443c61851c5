"""A stored key is shown to nobody again, whatever the role: every page, API answer and page of the admin."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import URLPattern, reverse
from django.urls.exceptions import NoReverseMatch

from apikeys import keys
from apikeys.keys import Owner
from apikeys.models import Credential
from digitalme.accounts import roles
from digitalme.accounts.models import Team, User
from digitalme.accounts.roles import Role
from digitalme.api import urls as api_urls
from digitalme.web import urls as web_urls
from providers import registry
from providers.registry import Provider
from tests.gateway.test_leaks import forms

pytestmark = pytest.mark.django_db
KEY_CANARY = "sk-proj-canary0Q7xW2pLm9Zt4Vb8Kd3Rf6"
PASSWORD_CANARY = "canary-password-Vb8Kd3Rf6"
CANARIES = [form for secret in (KEY_CANARY[:-4], PASSWORD_CANARY) for form in forms(secret)]


@pytest.fixture
def stored(alice: User, team: Team, notes: Provider) -> list[Credential]:
    """A key of each kind of owner, and one of several fields."""
    owners = (Owner("user", alice.pk), Owner("team", team.pk), keys.SYSTEM)
    for owner in owners:
        fields = {"api_key": KEY_CANARY}
        keys.set_key(actor=None, owner=owner, provider=registry.get("openai"), fields=fields)
        both = {"password": PASSWORD_CANARY, "account": "alice"}
        keys.set_key(actor=None, owner=owner, provider=notes, fields=both, label="home")
    return list(Credential.objects.all())


def addresses(patterns: list[Any], prefix: str) -> Iterator[str]:
    """Every address of these routes that can be made of a provider and a label."""
    for one in patterns:
        assert isinstance(one, URLPattern)
        if one.name is None or one.name == "api_nothing":
            continue
        wanted = one.pattern.converters
        for slug in ("openai", "notes"):
            values = {name: {"label": "home"}.get(name, slug) for name in wanted}
            try:
                yield reverse(one.name, kwargs=values)
            except NoReverseMatch:
                break
            if prefix == "page" and slug == "notes":
                yield reverse(one.name, kwargs=values) + "?label=home"


def admin_addresses() -> Iterator[str]:
    for model in admin.site._registry:
        place = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        yield reverse(f"{place}_changelist")
        for row in model._default_manager.all()[:20]:
            for page in ("change", "history", "delete"):
                yield reverse(f"{place}_{page}", args=[row.pk])
    yield reverse("admin:index")
    yield reverse("admin:apikeys_credential_changelist") + f"?q={KEY_CANARY[:12]}"


def pages() -> list[str]:
    found = [*addresses(web_urls.urlpatterns, "page"), *addresses(api_urls.urlpatterns, "api")]
    assert len(found) > 40
    return list(dict.fromkeys(found))


def searched(client: Client, address: str) -> None:
    # Only the pages answer a script with a part of themselves.
    ways: list[dict[str, str]] = [{}] if address.startswith(("/api/", "/admin/")) else [{}, {"HX-Request": "true"}]
    for headers in ways:
        answer = client.get(address, headers=headers, follow=True)
        assert answer.status_code < 500, address
        body = answer.getvalue() + repr(sorted(answer.headers.items())).encode()
        # What the address itself asked for may stand in the search field again.
        body = body.replace(KEY_CANARY[:12].encode(), b"")
        assert not [form for form in CANARIES if form in body], address


def signed_in(user: User, role: Role) -> Client:
    roles.assign(user, role)
    client = Client()
    client.force_login(user)
    return client


def test_no_page_or_answer_shows_a_stored_key_to_somebody_else(stored: list[Credential], bob: User) -> None:
    client = signed_in(bob, Role.SUPER_ADMIN)
    for address in pages():
        searched(client, address)


@pytest.mark.parametrize("role", [Role.SUPPORT, Role.ADMIN, Role.SUPER_ADMIN])
def test_no_page_of_the_admin_shows_one(stored: list[Credential], bob: User, role: Role) -> None:
    client = signed_in(bob, role)
    shown = list(admin_addresses())
    assert len(shown) > 40
    for address in shown:
        searched(client, address)


def test_nor_to_its_owner(stored: list[Credential], alice_client: Client) -> None:
    for address in pages():
        searched(alice_client, address)
    assert 'value="alice"' in alice_client.get("/settings/api/notes/key/?label=home").content.decode()


def test_a_form_that_is_refused_does_not_give_back_what_was_typed(alice_client: Client, notes: Provider) -> None:
    typed = {"password": PASSWORD_CANARY, "account": "Not Allowed"}
    answer = alice_client.post("/settings/api/notes/key/?new=1", typed)
    assert answer.status_code == 422
    assert not [form for form in CANARIES if form in answer.content]
    assert "no-store" in answer.headers["Cache-Control"]
