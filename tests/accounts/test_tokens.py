"""Access tokens: made, told from look-alikes, looked up, revoked."""

import hashlib
import re
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from digitalme.accounts import tokens
from digitalme.accounts.models import AccessToken, User
from digitalme.errors import InvalidRequest
from digitalme.statements import ask

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def make(user: User, **more: Any) -> tuple[AccessToken, str]:
    return tokens.issue(user=user, name="laptop", **more)


def state(token: str, now: datetime | None = None) -> str:
    """The state of a token, empty if it is unknown."""
    digest = tokens.digest(token)
    found = ask(tokens.identify([digest], now=now or timezone.now())).get(digest)
    return found.state if found else ""


def test_a_token_is_made_and_found(alice: User) -> None:
    row, token = make(alice)
    assert re.fullmatch(r"dm_[0-9A-Za-z]{38}", token)
    assert tokens.looks_valid(token)
    assert ask(tokens.identify([tokens.digest(token)], now=timezone.now())) == {
        tokens.digest(token): tokens.Identity(row.pk, alice.pk, "UTC", frozenset(tokens.SCOPES), "active")
    }
    assert list(tokens.tokens_of(alice)) == [row]


def test_only_the_digest_and_the_last_four_are_kept(alice: User) -> None:
    row, token = make(alice)
    row.refresh_from_db()
    assert row.digest == hashlib.sha256(token.encode()).hexdigest()
    assert row.hint.endswith(token[-4:])
    assert len(row.hint) < 10
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM accounts_accesstoken")
        assert token[:-4] not in str(cursor.fetchall())


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads the file of SQLite")
def test_a_token_is_nowhere_in_the_database_file(alice: User) -> None:
    _, token = make(alice)
    main = Path(connection.settings_dict["NAME"])
    content = b"".join(file.read_bytes() for file in (main, *main.parent.glob(f"{main.name}-*")))
    assert tokens.digest(token).encode() in content
    assert token[3:-6].encode() not in content


def test_tokens_are_random(alice: User) -> None:
    assert len({make(alice)[1] for _ in range(50)}) == 50


@pytest.mark.parametrize(
    "token", ["", "dm_", "sk-" + "a" * 38, "dm_" + "a" * 38, "dm_" + "a" * 37, "dm_" + "ä" * 38, "DM_" + "a" * 38]
)
def test_a_look_alike_is_told_without_the_database(token: str) -> None:
    assert not tokens.looks_valid(token)


@given(st.integers(0, 40), st.characters())
def test_one_wrong_character_is_noticed(place: int, character: str) -> None:
    token = "dm_" + "0" * 32 + "0aQmnP"
    body = token[:-6]
    good = body + tokens._checksum(body)
    assert tokens.looks_valid(good)
    changed = good[:place] + character + good[place + 1 :]
    assert tokens.looks_valid(changed) == (changed == good)


@given(st.text(max_size=60))
def test_any_text_gets_an_answer(text: str) -> None:
    assert tokens.looks_valid(text) in (True, False)


def test_an_unknown_token_is_absent(alice: User) -> None:
    make(alice)
    assert state("dm_" + "a" * 38) == ""
    assert ask(tokens.identify([], now=NOW)) == {}
    assert ask(tokens.identify(["' OR 1=1 --"], now=NOW)) == {}


def test_a_token_expires_at_its_time(alice: User) -> None:
    row, token = make(alice, lifetime_days=1)
    assert row.expires_at
    assert state(token, row.expires_at - timedelta(microseconds=1)) == "active"
    assert state(token, row.expires_at) == "expired"


def test_a_token_lives_90_days_unless_told_otherwise(alice: User) -> None:
    row, _ = make(alice)
    assert row.expires_at
    assert timedelta(days=89) < row.expires_at - timezone.now() <= timedelta(days=90)


def test_a_token_without_an_end_does_not_expire(alice: User) -> None:
    _, token = make(alice, lifetime_days=None)
    assert state(token, datetime(2999, 1, 1, tzinfo=UTC)) == "active"


def test_a_revoked_token_stays_revoked_at_its_first_time(alice: User) -> None:
    row, token = make(alice)
    tokens.revoke(row, now=NOW)
    tokens.revoke(row)
    assert row.revoked_at == NOW
    assert state(token) == "revoked"


def test_the_token_of_a_disabled_account_is_disabled(alice: User) -> None:
    _, token = make(alice)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert state(token) == "disabled"


def test_a_token_carries_its_scopes_and_its_owners_time_zone(alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(time_zone="Asia/Kolkata")
    _, token = make(alice, scopes=["api:read", "gateway", "gateway"])
    found = ask(tokens.identify([tokens.digest(token)], now=timezone.now()))[tokens.digest(token)]
    assert (found.scopes, found.time_zone) == (frozenset({"gateway", "api:read"}), "Asia/Kolkata")


def test_many_are_looked_up_in_one_statement(alice: User, bob: User) -> None:
    made = [make(user)[1] for user in (alice, bob, alice)]
    digests = {tokens.digest(token) for token in made} | {"unknown"}
    with CaptureQueriesContext(connection) as queries:
        found = ask(tokens.identify(digests, now=timezone.now()))
    assert len(queries) == 1
    assert {one.user_id for one in found.values()} == {alice.pk, bob.pk}
    assert len(found) == 3


@pytest.mark.parametrize(
    "more",
    [
        {"scopes": []},
        {"scopes": ["admin"]},
        {"scopes": ["gateway", "*"]},
        {"lifetime_days": 0},
        {"lifetime_days": -1},
        {"lifetime_days": 3651},
        {"name": ""},
        {"name": "   "},
        {"name": "x" * 101},
    ],
)
def test_a_token_that_makes_no_sense_is_refused(more: dict[str, Any], alice: User) -> None:
    with pytest.raises(InvalidRequest):
        tokens.issue(user=alice, **{"name": "laptop", **more})
    assert not AccessToken.objects.exists()


def test_use_is_noted(alice: User) -> None:
    (used, _), (idle, _) = make(alice), make(alice)
    tokens.touch({used.pk, uuid.uuid4()}, now=NOW)
    used.refresh_from_db()
    idle.refresh_from_db()
    assert (used.last_used_at, idle.last_used_at) == (NOW, None)
