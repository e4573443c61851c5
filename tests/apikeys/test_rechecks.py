"""Keys in use are tested again by the clock, and owners are told when one dies."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from apikeys import checks, rechecks
from apikeys.models import Credential, KeyTest
from digitalme.accounts import roles
from digitalme.accounts.models import Team, User
from digitalme.audit.models import AuditEvent
from digitalme.notifications import inbox
from tests.apikeys.conftest import KEY, add_key
from tests.fakes import FakeProvider, Manner
from tests.letters import sent

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def fake(settings: Any) -> Iterator[FakeProvider]:
    """OpenAI, played by a server on loopback."""
    with FakeProvider() as server:
        settings.DIGITALME_UPSTREAMS = {"openai": server.url}
        yield server


def reject(fake: FakeProvider) -> None:
    error = {"message": f"no {KEY}", "type": "invalid_api_key", "code": "invalid_api_key"}
    fake.manner = Manner(status=401, body=json.dumps({"error": error}).encode())


def used(credential: Credential, at: datetime = NOW) -> None:
    Credential.objects.filter(pk=credential.pk).update(last_used_at=at)


def test_a_key_that_was_never_tested_is_tested_once_and_a_used_one_daily(alice: User, fake: FakeProvider) -> None:
    credential = add_key(alice)
    assert [rechecks.run(now=NOW + hours * timedelta(hours=1)) for hours in range(4)] == [1, 0, 0, 0]
    assert Credential.objects.get().status == "valid"
    assert rechecks.run(now=NOW + DAY) == 0  # not used since
    used(credential)
    assert rechecks.run(now=NOW + DAY) == 1
    assert rechecks.run(now=NOW + 2 * DAY - timedelta(seconds=1)) == 0
    assert rechecks.run(now=NOW + 2 * DAY) == 1
    assert rechecks.run(now=NOW + 9 * DAY) == 0
    assert len(fake.seen) == 3
    assert not KeyTest.objects.exists()
    assert not AuditEvent.objects.filter(action="credential.tested").exists()


@pytest.mark.parametrize("facts", [{"is_active": False}, {"status": "invalid"}, {"provider": "nobody"}])
def test_a_key_that_serves_nothing_is_left_alone(facts: dict[str, Any], alice: User, fake: FakeProvider) -> None:
    Credential.objects.filter(pk=add_key(alice).pk).update(**facts)
    assert rechecks.run(now=NOW) == 0
    assert fake.seen == []


def test_each_run_takes_its_share_the_longest_untested_first(alice: User, fake: FakeProvider) -> None:
    for number in range(8):
        person = User.objects.create_user(f"p{number}@example.com", "a long enough one")
        credential = add_key(person)
        used(credential)
        Credential.objects.filter(pk=credential.pk).update(checked_at=NOW - DAY - timedelta(hours=number))
    assert rechecks.run(now=NOW) == rechecks.LEAST
    left = Credential.objects.filter(checked_at__lt=NOW).order_by("checked_at").values_list("user__email", flat=True)
    assert list(left) == ["p2@example.com", "p1@example.com", "p0@example.com"]
    assert rechecks.run(now=NOW) == 3


def test_a_run_ends_before_the_next_begins(alice: User, bob: User, fake: FakeProvider) -> None:
    add_key(alice)
    add_key(bob)
    times = iter([0.0, 0.0, rechecks.MOST_SECONDS])
    assert rechecks.run(now=NOW, clock=lambda: next(times)) == 1


@pytest.mark.parametrize("whose", ["user", "team", "system"])
def test_owners_are_told_once_when_a_key_dies(
    whose: str, alice: User, bob: User, team: Team, fake: FakeProvider
) -> None:
    roles.assign(bob, roles.Role.SUPER_ADMIN)
    owners: dict[str, User | Team | None] = {"user": alice, "team": team, "system": None}
    owner, told = owners[whose], bob if whose == "system" else alice
    used(add_key(owner))
    rechecks.run(now=NOW)
    reject(fake)
    rechecks.run(now=NOW + DAY)
    rechecks.run(now=NOW + 2 * DAY)
    (letter,) = sent()
    assert letter.to == [told.email]
    assert "OpenAI no longer accepts" in letter.subject
    assert inbox.of(told.pk).filter(kind="key.failing").count() == 1
    assert KEY not in str(letter.body)
    assert "OpenAI does not know this key" in str(letter.body)
    stored = Credential.objects.get()
    assert (stored.status, stored.untold) == ("invalid", False)
    word = "system_key" if whose == "system" else "credential"
    (event,) = AuditEvent.objects.filter(action=f"{word}.rejected")
    assert (event.target, event.facts["category"]) == (f"credential:{stored.pk}", "invalid")


def test_the_card_says_that_it_died_and_what_to_do(alice: User, alice_client: Client, fake: FakeProvider) -> None:
    used(add_key(alice))
    rechecks.run(now=NOW)
    reject(fake)
    rechecks.run(now=NOW + DAY)
    shown = alice_client.get("/settings/api/").content.decode()
    assert "Key rejected" in shown
    assert "OpenAI does not know this key. It was mistyped, revoked or deleted: make a new one." in shown
    assert "no longer accepts the key" in alice_client.get("/settings/security/").content.decode()


@pytest.mark.parametrize("manner", [Manner(status=503), Manner(status=429), Manner(status=403)])
def test_an_outage_kills_no_key(manner: Manner, alice: User, fake: FakeProvider) -> None:
    used(add_key(alice))
    rechecks.run(now=NOW)
    fake.manner = manner
    rechecks.run(now=NOW + DAY)
    assert Credential.objects.get().status in ("valid", "limited")
    assert sent() == []


def test_a_key_that_works_again_or_is_replaced_is_not_written_about(alice: User, fake: FakeProvider) -> None:
    credential = add_key(alice)
    Credential.objects.update(status="invalid", untold=True)
    checks.test_credential(credential, actor=alice, now=NOW)
    assert not Credential.objects.get().untold
    Credential.objects.update(status="invalid", untold=True)
    add_key(alice)
    assert rechecks.tell(now=NOW) == 0


def test_one_who_tests_a_dead_key_themselves_gets_no_mail(alice: User, fake: FakeProvider) -> None:
    reject(fake)
    checks.test_credential(add_key(alice), actor=alice, now=NOW)
    rechecks.run(now=NOW)
    assert sent() == []


def test_an_unreadable_key_does_not_stop_the_others(alice: User, bob: User, fake: FakeProvider) -> None:
    Credential.objects.filter(pk=add_key(alice).pk).update(sealed={"api_key": "AAAA"})
    add_key(bob)
    assert rechecks.run(now=NOW) == 2
    assert Credential.objects.get(user=bob).status == "valid"
