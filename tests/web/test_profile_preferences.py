"""/settings/profile/ and /settings/preferences/."""

from typing import Any

import pytest
from django.test import Client

from digitalme.accounts.models import User

pytestmark = pytest.mark.django_db


def test_the_name_is_saved(alice_client: Client, alice: User) -> None:
    answer = alice_client.post("/settings/profile/", {"name": "Alice A."}, follow=True)
    alice.refresh_from_db()
    assert alice.name == "Alice A."
    assert "Your profile is saved." in answer.content.decode()


def test_nothing_but_the_name_can_be_set(alice_client: Client, alice: User) -> None:
    alice_client.post("/settings/profile/", {"name": "A", "email": "x@y.z", "is_staff": "on", "is_superuser": "on"})
    alice.refresh_from_db()
    assert (alice.email, alice.is_staff, alice.is_superuser) == ("alice@example.com", False, False)


def test_a_name_that_is_too_long_is_refused(alice_client: Client) -> None:
    assert alice_client.post("/settings/profile/", {"name": "n" * 151}).status_code == 422


def test_theme_and_zone_are_saved_and_used(alice_client: Client, alice: User) -> None:
    answer = alice_client.post("/settings/preferences/", {"theme": "dark", "time_zone": "Europe/Vienna"}, follow=True)
    alice.refresh_from_db()
    assert (alice.theme, alice.time_zone) == ("dark", "Europe/Vienna")
    assert 'data-theme="dark"' in answer.content.decode()


@pytest.mark.parametrize("wrong", [{"theme": "pink"}, {"time_zone": "Mars/Olympus"}, {"time_zone": "../etc/passwd"}])
def test_what_there_is_not_is_refused(alice_client: Client, alice: User, wrong: dict[str, Any]) -> None:
    answer = alice_client.post("/settings/preferences/", {"theme": "light", "time_zone": "UTC", **wrong})
    alice.refresh_from_db()
    assert answer.status_code == 422
    assert alice.theme == "system"


def test_a_zone_by_an_old_name_can_be_kept(alice_client: Client, alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(time_zone="EST5EDT")
    answer = alice_client.post("/settings/preferences/", {"theme": "light", "time_zone": "EST5EDT"})
    alice.refresh_from_db()
    assert answer.status_code == 302
    assert alice.time_zone == "EST5EDT"
