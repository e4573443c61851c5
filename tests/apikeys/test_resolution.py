"""Which key serves a call."""

import statistics
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apikeys import keys, resolution, vault
from apikeys.models import Credential
from apikeys.resolution import KeySource, ResolvedKey
from apikeys.vault import CredentialUnreadable
from digitalme.accounts.models import Membership, Team, User
from digitalme.errors import InvalidKeyFormat
from digitalme.statements import ask
from tests.apikeys.conftest import KEY, OTHER_KEY, add_key

HOUSE = "sk-house-0123456789abcdefghij"


@pytest.fixture(autouse=True)
def no_environment(settings: Any) -> None:
    settings.DIGITALME_SYSTEM_KEYS = {}


def key_for(user: User, slug: str = "openai") -> ResolvedKey | None:
    return ask(resolution.resolve([(user.pk, slug)])).get((user.pk, slug))


def source_for(user: User) -> KeySource | None:
    key = key_for(user)
    return key.source if key else None


def test_without_any_key_there_is_none(alice: User) -> None:
    assert key_for(alice) is None
    assert ask(resolution.resolve([])) == {}


def test_the_own_key_comes_before_the_teams_and_that_before_the_houses(alice: User, team: Team, settings: Any) -> None:
    settings.DIGITALME_SYSTEM_KEYS = {"openai": HOUSE}
    assert source_for(alice) is KeySource.SYSTEM
    add_key(None)
    assert source_for(alice) is KeySource.SYSTEM
    shared = add_key(team)
    key = key_for(alice)
    assert key
    assert (key.source, key.team_id, key.credential_id) == (KeySource.TEAM, team.pk, shared.pk)
    own = add_key(alice)
    key = key_for(alice)
    assert key
    assert (key.source, key.team_id, key.credential_id, key.version) == (KeySource.USER, None, own.pk, 1)
    keys.remove(actor=alice, credential=own)
    assert source_for(alice) is KeySource.TEAM


def test_a_teams_key_serves_its_members_only(bob: User, charlie: User, team: Team) -> None:
    add_key(team)
    assert source_for(bob) is KeySource.TEAM
    assert source_for(charlie) is None


def test_somebody_elses_key_never_serves(alice: User, bob: User) -> None:
    add_key(alice)
    assert key_for(bob) is None


def test_a_key_serves_its_own_provider_only(alice: User) -> None:
    add_key(alice)
    assert key_for(alice, "anthropic") is None


def test_who_switched_the_own_key_off_has_none(alice: User, team: Team, settings: Any) -> None:
    settings.DIGITALME_SYSTEM_KEYS = {"openai": HOUSE}
    add_key(None)
    add_key(team)
    own = add_key(alice)
    keys.set_active(actor=alice, credential=own, active=False)
    assert key_for(alice) is None


def test_a_teams_key_that_is_off_does_not_fall_back_to_the_house(bob: User, team: Team) -> None:
    add_key(None)
    shared = add_key(team)
    keys.set_active(actor=None, credential=shared, active=False)
    assert key_for(bob) is None


def test_the_houses_row_decides_before_its_key_in_the_environment(bob: User, settings: Any) -> None:
    settings.DIGITALME_SYSTEM_KEYS = {"openai": HOUSE}
    row = add_key(None)
    key = key_for(bob)
    assert key
    assert (key.plain_env, key.credential_id) == (False, row.pk)
    keys.set_active(actor=None, credential=row, active=False)
    assert key_for(bob) is None


def test_of_several_teams_keys_the_oldest_active_one_serves(bob: User, team: Team) -> None:
    second = Team.objects.create(slug="second", name="Second")
    Membership.objects.create(team=second, user=bob)
    newer, older = add_key(team), add_key(second)
    newer_first = sorted((newer, older), key=lambda one: one.pk)
    key = key_for(bob)
    assert key
    assert key.credential_id == newer_first[0].pk
    keys.set_active(actor=None, credential=newer_first[0], active=False)
    key = key_for(bob)
    assert key
    assert key.credential_id == newer_first[1].pk


@pytest.mark.parametrize("status", ["invalid", "expired", "limited", "unknown"])
def test_a_key_of_bad_standing_is_still_used(status: str, alice: User) -> None:
    add_key(None)
    add_key(alice)
    Credential.objects.update(status=status)
    assert source_for(alice) is KeySource.USER


def test_many_are_resolved_in_one_statement(alice: User, bob: User, charlie: User, team: Team) -> None:
    anthropic = "sk-ant-api03-" + "a" * 40
    add_key(alice)
    add_key(team, anthropic, "anthropic")
    add_key(None)
    wanted = {(user.pk, slug) for user in (alice, bob, charlie) for slug in ("openai", "anthropic")}
    with CaptureQueriesContext(
        connection,
    ) as queries:
        found = ask(resolution.resolve(wanted))
    assert len(queries) == 1
    assert {(place, key.source) for place, key in found.items()} == {
        ((alice.pk, "openai"), KeySource.USER),
        ((alice.pk, "anthropic"), KeySource.TEAM),
        ((bob.pk, "openai"), KeySource.SYSTEM),
        ((bob.pk, "anthropic"), KeySource.TEAM),
        ((charlie.pk, "openai"), KeySource.SYSTEM),
    }
    assert resolution.unseal(found[bob.pk, "anthropic"])["api_key"].reveal() == anthropic


def test_the_statement_finds_its_rows_by_indexes(alice: User) -> None:
    add_key(alice)
    with CaptureQueriesContext(connection) as queries:
        key_for(alice)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
        explain = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
        cursor.execute(explain + queries[0]["sql"])
        plan = "\n".join(str(row) for row in cursor.fetchall())
    assert "SCAN c" not in plan
    assert "Seq Scan" not in plan


def test_the_houses_key_from_the_environment_opens(alice: User, settings: Any) -> None:
    settings.DIGITALME_SYSTEM_KEYS = {"openai": f"{HOUSE}\n"}
    key = key_for(alice)
    assert key == ResolvedKey(KeySource.SYSTEM, "openai", plain_env=True)
    assert resolution.warm(key)
    assert resolution.unseal(key)["api_key"].reveal() == HOUSE
    settings.DIGITALME_SYSTEM_KEYS = {"openai": f"{HOUSE}\r\nx: y"}
    with pytest.raises(InvalidKeyFormat) as refusal:
        resolution.unseal(key)
    assert HOUSE not in str(refusal.value)


def test_a_key_is_warm_once_it_was_opened(alice: User) -> None:
    add_key(alice)
    key = key_for(alice)
    assert key
    vault.derived_keys.clear()
    assert not resolution.warm(key)
    assert resolution.unseal(key)["api_key"].reveal() == KEY
    assert resolution.warm(key)


@pytest.mark.parametrize("sealed", ["[]", "{}", '{"api_key": 7}', '{"api_key": "ü"}', '{"api_key": "eA=="}', "null"])
def test_an_altered_row_is_unreadable_and_leaves_the_others_alone(sealed: str, alice: User, bob: User) -> None:
    broken = add_key(alice)
    add_key(bob, OTHER_KEY)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE apikeys_credential SET sealed = %s WHERE user_id = %s",
            [sealed, alice.pk.hex if connection.vendor == "sqlite" else alice.pk],
        )
    found = ask(resolution.resolve([(alice.pk, "openai"), (bob.pk, "openai")]))
    assert resolution.warm(found[alice.pk, "openai"])
    with pytest.raises(CredentialUnreadable) as problem:
        resolution.unseal(found[alice.pk, "openai"])
    assert problem.value.credential_id == broken.pk
    assert resolution.unseal(found[bob.pk, "openai"])["api_key"].reveal() == OTHER_KEY


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL keeps no broken JSON")
def test_a_row_whose_json_is_broken_is_unreadable(alice: User) -> None:
    add_key(alice)
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = ON")
        cursor.execute("UPDATE apikeys_credential SET sealed = '{', destination = '['")
        cursor.execute("PRAGMA ignore_check_constraints = OFF")
    key = key_for(alice)
    assert key
    with pytest.raises(CredentialUnreadable):
        resolution.unseal(key)


def test_a_key_does_not_open_for_a_destination_it_was_not_entered_for(alice: User) -> None:
    add_key(alice)
    key = key_for(alice)
    assert key
    with pytest.raises(CredentialUnreadable):
        resolution.unseal(key._replace(destination=("https://evil.example",)))


def test_use_is_noted(alice: User, bob: User) -> None:
    mine, other = add_key(alice), add_key(bob)
    now = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
    by = {"operation": "chat", "model": "m", "token": "t", "network": "203.0.113.0/24"}
    resolution.touch({mine.pk: by, uuid.uuid4(): by}, now=now)
    mine.refresh_from_db()
    other.refresh_from_db()
    assert (mine.last_used_at, other.last_used_at) == (now, None)
    assert (mine.last_use, other.last_use) == (by, None)


def test_a_warm_key_opens_well_below_a_tenth_of_a_millisecond(alice: User) -> None:
    add_key(alice)
    key = key_for(alice)
    assert key
    took = []
    for _ in range(500):
        start = time.perf_counter()
        resolution.unseal(key)
        took.append(time.perf_counter() - start)
    assert statistics.median(took) < 0.0001
