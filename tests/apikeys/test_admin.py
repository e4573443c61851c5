"""The admin's pages of keys: state, never a secret; the house's keys are set by Super Admins only."""

import logging
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from apikeys import keys, resolution
from apikeys.models import Credential
from digitalme.accounts import roles
from digitalme.accounts.models import User
from digitalme.accounts.roles import Role
from digitalme.statements import ask
from providers import registry
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db
KEYS = "/admin/apikeys/credential/"
CANARY = "sk-proj-canaryCANARYcanary0123456789wxyz"
HOUSE = "sk-proj-houseHOUSEhouse0123456789abcdefg"
STAFF = [Role.SUPPORT, Role.ADMIN, Role.SUPER_ADMIN]


def staff(role: Role) -> Client:
    user = User.objects.create_user(f"{role}@staff.example.com", PASSWORD)
    roles.assign(user, role)
    client = Client()
    client.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    return client


@pytest.fixture
def credential(alice: User) -> Credential:
    """A key of alice's."""
    return keys.set_key(
        actor=alice,
        owner=keys.Owner("user", alice.pk),
        provider=registry.get("openai"),
        fields={"api_key": CANARY},
    )


def add(client: Client, key: str = HOUSE, provider: str = "openai") -> Any:
    return client.post(f"{KEYS}add/", {"provider": provider, "key": key, "display_name": ""})


def switch(client: Client, how: str, *chosen: Credential) -> str:
    data = {"action": f"switch_{how}", "_selected_action": [str(one.pk) for one in chosen]}
    return str(client.post(KEYS, data, follow=True).content.decode())


@pytest.mark.parametrize("role", STAFF)
def test_state_and_marks_are_shown_and_no_secret(credential: Credential, role: Role) -> None:
    client = staff(role)
    for address in (KEYS, f"{KEYS}{credential.pk}/change/", f"{KEYS}{credential.pk}/history/"):
        page = client.get(address).content.decode()
        assert CANARY not in page
        assert credential.sealed["api_key"] not in page
        assert credential.fingerprint not in page
    page = client.get(f"{KEYS}{credential.pk}/change/").content.decode()
    assert "Not tested" in page
    assert CANARY[-4:] in page
    assert credential.fingerprint[:10] in page


def test_no_page_of_the_admin_holds_a_secret(credential: Credential) -> None:
    client = staff(Role.SUPER_ADMIN)
    add(client)
    sealed = [row.sealed["api_key"] for row in Credential.objects.all()]
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        addresses = [reverse(f"{name}_changelist")]
        rows = model._default_manager.all()[:3]
        addresses += [reverse(f"{name}_change", args=[row.pk]) for row in rows]
        for address in addresses:
            page = client.get(address).content.decode()
            assert not [secret for secret in (CANARY, HOUSE, *sealed) if secret in page], address


def test_a_super_admin_sets_and_replaces_the_houses_key(alice: User) -> None:
    client = staff(Role.SUPER_ADMIN)
    assert add(client).status_code == 302
    first = Credential.objects.get(is_system=True)
    assert add(client, CANARY).status_code == 302
    second = Credential.objects.get(is_system=True)
    assert (first.pk, first.version, second.version) == (second.pk, 1, 2)
    found = ask(resolution.resolve([(alice.pk, "openai")]))[alice.pk, "openai"]
    assert resolution.unseal(found)["api_key"].reveal() == CANARY


def test_the_form_of_replacement_knows_the_provider() -> None:
    client = staff(Role.SUPER_ADMIN)
    page = client.get(f"{KEYS}add/?provider=openai").content.decode()
    assert '<option value="openai" selected' in page
    assert 'type="password"' in page


@pytest.mark.parametrize("key", ["short", HOUSE + "\n", "sk-ant-" + "x" * 40, f"{HOUSE}\u201d", ""])
def test_what_cannot_be_a_key_is_refused_and_never_shown_again(key: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answer = add(staff(Role.SUPER_ADMIN), key)
    if key.strip() != HOUSE:
        assert answer.status_code == 200
        assert not Credential.objects.exists()
    assert not key or f'value="{key.strip()}' not in answer.content.decode()
    assert HOUSE not in caplog.text


@pytest.mark.parametrize("role", [Role.SUPPORT, Role.ADMIN])
def test_nobody_else_sets_the_houses_key(role: Role) -> None:
    client = staff(role)
    assert add(client).status_code == 403
    assert client.get(f"{KEYS}add/").status_code == 403
    assert not Credential.objects.exists()


def test_the_houses_key_is_set_after_the_password_only() -> None:
    staff(Role.SUPER_ADMIN)
    client = Client()
    client.force_login(User.objects.get())
    assert client.get(f"{KEYS}add/")["Location"].startswith("/accounts/reauthenticate/")
    assert add(client).status_code == 302
    assert not Credential.objects.exists()
    assert HOUSE not in str(dict(client.session))


@pytest.mark.parametrize("role", STAFF)
def test_nobody_edits_or_deletes_somebodys_key(credential: Credential, role: Role) -> None:
    client = staff(role)
    change = {"sealed": "{}", "user": "", "is_system": "on", "destination": '["https://evil.example"]'}
    assert client.post(f"{KEYS}{credential.pk}/change/", change).status_code == 403
    assert client.post(f"{KEYS}{credential.pk}/delete/", {"post": "yes"}).status_code == 403
    data = {"action": "delete_selected", "_selected_action": [str(credential.pk)], "post": "yes"}
    client.post(KEYS, data)
    assert Credential.objects.get().destination == ["https://api.openai.com"]


def test_a_super_admin_removes_the_houses_key() -> None:
    client = staff(Role.SUPER_ADMIN)
    add(client)
    row = Credential.objects.get()
    assert client.post(f"{KEYS}{row.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Credential.objects.exists()


def test_an_admin_switches_a_persons_key_and_not_the_houses(credential: Credential) -> None:
    add(staff(Role.SUPER_ADMIN))
    house = Credential.objects.get(is_system=True)
    client = staff(Role.ADMIN)
    assert "1 of 2 keys are switched off." in switch(client, "off", credential, house)
    credential.refresh_from_db()
    house.refresh_from_db()
    assert (credential.is_active, house.is_active) == (False, True)
    assert "Switched off." in LogEntry.objects.get(object_id=str(credential.pk)).change_message
    switch(client, "on", credential)
    credential.refresh_from_db()
    assert credential.is_active


def test_an_admin_does_not_switch_an_equals_key(credential: Credential, alice: User) -> None:
    roles.assign(alice, Role.ADMIN)
    assert "0 of 1 keys are switched off." in switch(staff(Role.ADMIN), "off", credential)


def test_support_switches_nothing(credential: Credential) -> None:
    switch(staff(Role.SUPPORT), "off", credential)
    credential.refresh_from_db()
    assert credential.is_active
