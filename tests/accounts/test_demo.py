"""The two people of a first look."""

import json
from pathlib import Path

import pytest
from django.contrib.auth import authenticate
from django.test import RequestFactory

from digitalme.accounts import demo, tokens
from digitalme.accounts.models import AccessToken, User

pytestmark = pytest.mark.django_db


def sign_in(person: demo.Person) -> User | None:
    request = RequestFactory().post("/accounts/login/")
    found = authenticate(request, email=person["email"], password=person["password"])
    assert found is None or isinstance(found, User)
    return found


def test_both_can_sign_in_with_what_is_returned(tmp_path: Path) -> None:
    found = demo.people(tmp_path / "people.json")
    assert [person["email"] for person in found] == ["demo@example.com", "admin@example.com"]
    assert all(sign_in(person) for person in found)


def test_one_is_an_ordinary_user_and_one_may_do_everything(tmp_path: Path) -> None:
    demo.people(tmp_path / "people.json")
    ordinary, everything = (User.objects.get(email=email) for email in demo.ROLES)
    assert (ordinary.is_staff, ordinary.is_superuser) == (False, False)
    assert (everything.is_staff, everything.is_superuser) == (True, True)


def test_a_second_time_nothing_changes(tmp_path: Path) -> None:
    first = demo.people(tmp_path / "people.json")
    assert demo.people(tmp_path / "people.json") == first
    assert (User.objects.count(), AccessToken.objects.count()) == (2, 2)


def test_a_token_that_was_revoked_is_replaced(tmp_path: Path) -> None:
    first = demo.people(tmp_path / "people.json")[0]
    tokens.revoke(AccessToken.objects.get(digest=tokens.digest(first["token"])))
    second = demo.people(tmp_path / "people.json")[0]
    assert second["token"] != first["token"]
    assert tokens.looks_valid(second["token"])
    assert json.loads((tmp_path / "people.json").read_text())[0] == second


def test_somebody_who_was_there_before_is_left_alone(tmp_path: Path) -> None:
    theirs = User.objects.create_user("admin@example.com", "a password of their own")
    found = demo.people(tmp_path / "people.json")
    assert [person["email"] for person in found] == ["demo@example.com"]
    theirs.refresh_from_db()
    assert theirs.check_password("a password of their own")
    assert not theirs.is_superuser


def test_a_lost_memory_does_not_change_a_password(tmp_path: Path) -> None:
    [first, _] = demo.people(tmp_path / "people.json")
    (tmp_path / "people.json").unlink()
    assert demo.people(tmp_path / "people.json") == []
    assert sign_in(first)


def test_the_memory_is_for_its_owner_only(tmp_path: Path) -> None:
    demo.people(tmp_path / "people.json")
    assert (tmp_path / "people.json").stat().st_mode & 0o777 == 0o600
