"""The house's keys of the environment are tested by the clock too; staff see what came of it, and nobody the key."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from apikeys import rechecks
from apikeys.models import EnvironmentKeyCheck
from digitalme.accounts import roles
from digitalme.accounts.models import User
from digitalme.audit.models import AuditEvent
from tests.apikeys.conftest import KEY, OTHER_KEY, add_key
from tests.conftest import PASSWORD
from tests.fakes import FakeProvider, Manner
from tests.letters import sent

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
DAY = timedelta(days=1)
PAGE = "/admin/apikeys/credential/"


@pytest.fixture(autouse=True)
def fake(settings: Any) -> Iterator[FakeProvider]:
    """OpenAI, played by a server on loopback, of which the environment has a key."""
    with FakeProvider() as server:
        settings.DIGITALME_UPSTREAMS = {"openai": server.url}
        settings.DIGITALME_SYSTEM_KEYS = {"openai": KEY}
        yield server


@pytest.fixture
def root(db: None) -> User:
    user = User.objects.create_user("root@staff.example.com", PASSWORD)
    roles.assign(user, roles.Role.SUPER_ADMIN)
    return user


def seen_by(role: roles.Role) -> str:
    user, _ = User.objects.get_or_create(email=f"{role}@staff.example.com")
    roles.assign(user, role)
    client = Client()
    client.force_login(user)
    return " ".join(client.get(PAGE).content.decode().split())


def reject(fake: FakeProvider) -> None:
    error = {"message": f"no {KEY}", "type": "invalid_api_key", "code": "invalid_api_key"}
    fake.manner = Manner(status=401, body=json.dumps({"error": error}).encode())


@pytest.mark.parametrize("role", [roles.Role.SUPPORT, roles.Role.ADMIN, roles.Role.SUPER_ADMIN])
def test_it_is_tested_once_a_day_and_staff_see_the_outcome(role: roles.Role, fake: FakeProvider) -> None:
    assert "Not tested yet" in seen_by(role)
    assert [rechecks.run(now=NOW + hours * timedelta(hours=1)) for hours in range(3)] == [1, 0, 0]
    assert rechecks.run(now=NOW + DAY) == 1
    assert len(fake.seen) == 2
    shown = seen_by(role)
    assert "Valid. The key works." in shown
    assert KEY not in shown
    row = EnvironmentKeyCheck.objects.get()
    assert KEY not in str(vars(row))
    assert row.fingerprint not in shown


def test_those_who_manage_the_houses_keys_are_told_once_when_it_dies(root: User, fake: FakeProvider) -> None:
    rechecks.run(now=NOW)
    reject(fake)
    rechecks.run(now=NOW + DAY)
    rechecks.run(now=NOW + 2 * DAY)
    (letter,) = sent()
    assert letter.to == [root.email]
    assert "DIGITALME_SYSTEM_KEY_OPENAI" in letter.body
    assert KEY not in letter.body
    (event,) = AuditEvent.objects.filter(action="system_key.rejected")
    assert (event.target, event.facts["category"]) == ("provider:openai", "invalid")
    assert "OpenAI does not know this key" in seen_by(roles.Role.SUPPORT)


def test_an_outage_is_shown_and_tells_nobody(root: User, fake: FakeProvider) -> None:
    fake.manner = Manner(status=503)
    rechecks.run(now=NOW)
    assert sent() == []
    assert "Unavailable" in seen_by(roles.Role.SUPPORT)


def test_another_key_is_tested_at_once_and_not_taken_for_the_former(settings: Any, fake: FakeProvider) -> None:
    rechecks.run(now=NOW)
    settings.DIGITALME_SYSTEM_KEYS = {"openai": OTHER_KEY}
    assert "Not tested yet" in seen_by(roles.Role.SUPPORT)
    assert rechecks.run(now=NOW + timedelta(minutes=15)) == 1
    settings.DIGITALME_SYSTEM_KEYS = {}
    assert "come from the environment" not in seen_by(roles.Role.SUPPORT)
    assert rechecks.run(now=NOW + 3 * DAY) == 0


def test_one_that_is_not_in_use_is_not_tested(fake: FakeProvider) -> None:
    house = add_key(None)
    type(house).objects.update(checked_at=NOW)
    assert rechecks.run(now=NOW) == 0
    assert "no: a stored key comes first" in seen_by(roles.Role.SUPPORT)


def test_what_cannot_be_a_key_is_said_and_never_shown(root: User, settings: Any, fake: FakeProvider) -> None:
    settings.DIGITALME_SYSTEM_KEYS = {"openai": "two words-canary"}
    rechecks.run(now=NOW)
    shown = seen_by(roles.Role.SUPPORT)
    assert "Malformed" in shown
    assert "canary" not in shown
    assert fake.seen == []
