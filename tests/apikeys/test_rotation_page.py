"""The admin's page on the keys of the house."""

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from apikeys import keyring, masters
from apikeys.models import HouseKey, KeyHolder
from digitalme.accounts import roles
from digitalme.accounts.models import User
from tests.apikeys.conftest import add_key

PAGE = "/admin/apikeys/housekey/"


def signed_in(user: User, role: roles.Role) -> Client:
    roles.assign(user, role)
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def boss(alice: User) -> Client:
    masters.verify()
    return signed_in(alice, roles.Role.SUPER_ADMIN)


def test_it_shows_keys_processes_and_what_to_do_next(boss: Client, bob: User) -> None:
    add_key(bob)
    HouseKey.objects.create(key_id="k0", check_value="0123456789abcdef", state="retired", retired_at=timezone.now())
    KeyHolder.objects.create(
        role="web", host="north", pid=7, known={"master": {"test": "x"}}, sealing_id="test", seen_at=timezone.now()
    )
    page = boss.get(PAGE)
    text = page.content.decode()
    assert page.status_code == 200
    for shown in ("test", "seals", "k0", "retired", "fp1", "computes", "web 7 on north", "Next:"):
        assert shown in text
    assert "0123456789abcdef" not in text
    assert keyring.ring().check_value("test") not in text
    assert PAGE in boss.get("/admin/").content.decode()


@pytest.mark.parametrize("role", [roles.Role.USER, roles.Role.SUPPORT, roles.Role.ADMIN])
def test_it_is_for_super_admins(role: roles.Role, bob: User) -> None:
    client = signed_in(bob, role)
    page = client.get(PAGE, follow=True)
    assert "Live processes" not in page.content.decode()
    assert PAGE not in client.get("/admin/", follow=True).content.decode()


def test_nothing_is_changed_there(boss: Client) -> None:
    assert boss.post(PAGE, {"action": "delete_selected"}).status_code == 405
    row = HouseKey.objects.first()
    assert row
    for deed in ("add/", f"{row.pk}/change/", f"{row.pk}/delete/"):
        assert boss.get(PAGE + deed).status_code in (302, 403)
    assert HouseKey.objects.filter(pk=row.pk).exists()


def test_it_says_what_is_wrong_with_the_keys(boss: Client, settings: object) -> None:
    settings.DIGITALME_FINGERPRINT_KEY = "short"  # type: ignore[attr-defined]
    assert "DIGITALME_FINGERPRINT_KEY" in boss.get(PAGE).content.decode()


def test_a_rotation_is_followed_there(boss: Client, bob: User) -> None:
    add_key(bob)
    call_command("rotate_master_key")
    assert "stored keys are sealed or fingerprinted with a former key" in boss.get(PAGE).content.decode()
