"""/api/v1/me/: three things are the caller's to change."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client

from digitalme.accounts import roles
from digitalme.accounts.models import User
from quotas.models import Tier

URL = "/api/v1/me/"


def change(client: Client, **body: Any) -> Any:
    return client.patch(URL, body, content_type="application/json")


def test_it_tells_who_is_calling(alice: User, alice_client: Client) -> None:
    told = alice_client.get(URL).json()
    assert (told["id"], told["email"], told["role"]) == (str(alice.pk), alice.email, "user")
    assert "password" not in told


def test_it_changes_name_zone_and_theme(alice: User, alice_client: Client) -> None:
    response = change(alice_client, name="Al", time_zone="Europe/Berlin", theme="dark")
    alice.refresh_from_db()
    assert response.status_code == 200
    assert (alice.name, alice.time_zone, alice.theme) == ("Al", "Europe/Berlin", "dark")


@pytest.mark.parametrize(
    "body", [{"theme": "pink"}, {"time_zone": "Mars/Olympus"}, {"time_zone": ""}, {"name": "x" * 151}, {"name": None}]
)
def test_an_odd_value_changes_nothing(alice: User, alice_client: Client, body: dict[str, Any]) -> None:
    assert change(alice_client, **body).status_code == 400
    fresh = User.objects.get(pk=alice.pk)
    assert (fresh.name, fresh.time_zone, fresh.theme) == (alice.name, alice.time_zone, alice.theme)


def test_nothing_else_about_oneself_can_be_changed(alice: User, alice_client: Client) -> None:
    tier = Tier.objects.create(slug="gold", name="Gold")
    untouched = {field.attname: getattr(alice, field.attname) for field in User._meta.concrete_fields}
    response = change(
        alice_client,
        id="00000000-0000-0000-0000-000000000001",
        email="eve@example.com",
        role="super_admin",
        is_staff=True,
        is_superuser=True,
        is_active=False,
        groups=list(Group.objects.values_list("pk", flat=True)),
        user_permissions=list(Permission.objects.values_list("pk", flat=True)),
        tier="gold",
        tier_id=tier.pk,
        password="x",
        last_login="2020-01-01T00:00:00Z",
        date_joined="2020-01-01T00:00:00Z",
        teams=[],
        limits=[],
        access_tokens=[],
        credentials=[],
    )
    fresh = User.objects.get(pk=alice.pk)
    assert response.status_code == 200
    assert {name: getattr(fresh, name) for name in untouched if name != "last_login"} == {
        name: value for name, value in untouched.items() if name != "last_login"
    }
    assert roles.role_of(fresh) is roles.Role.USER
    assert not fresh.user_permissions.exists()
