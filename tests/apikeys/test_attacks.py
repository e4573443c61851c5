"""Somebody has the database, or can write to it: nothing opens, everything fails in one way and at once."""

import base64
import hashlib
import itertools
import os
import random
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings as product
from django.db import connection
from django.test import Client, override_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeys import resolution, vault
from apikeys.models import Credential, OwnerSalt
from apikeys.vault import Context, CredentialUnreadable
from digitalme.accounts.models import User
from providers.secrets import Secret
from tests.apikeys.conftest import KEY, OTHER_KEY, add_key
from tests.fakes import FakeProvider

PLAIN = "sk-" + "v" * 48
SALTS = {"user:1": os.urandom(32), "user:2": os.urandom(32)}
HERE = Context("user:1", "openai", "api_key", uuid.UUID(int=7), 3, ("https://api.openai.com",))
BLOB = vault.seal(Secret(PLAIN), HERE, SALTS["user:1"])
END_OF_HEADER = 4 + BLOB[3]


def refused(blob: bytes, context: Context = HERE, salt: bytes = SALTS["user:1"]) -> None:
    """The one exception, and nothing else, whatever is wrong."""
    with pytest.raises(CredentialUnreadable) as problem:
        vault.open(blob, context, salt)
    assert problem.value.__cause__ is None
    assert problem.value.__suppress_context__ or problem.value.__context__ is None


# --- T04: moved to another place -------------------------------------------------------------------

PLACES = [
    Context(*parts)
    for parts in itertools.product(
        SALTS,
        ["openai", "anthropic"],
        ["api_key", "organisation"],
        [uuid.UUID(int=7), uuid.UUID(int=8)],
        [3, 4],
        [("https://api.openai.com",), ("https://api.openai.com", "https://evil.example")],
    )
]


def test_what_is_sealed_for_one_place_opens_in_no_other() -> None:
    """All pairs of places that differ in user, provider, field, row, version, destination, or several of these."""
    blobs = {place: vault.seal(Secret(PLAIN), place, SALTS[place.owner]) for place in PLACES}
    assert len(blobs) == 64
    for place, other in itertools.product(PLACES, PLACES):
        if place == other:
            assert vault.open(blobs[place], other, SALTS[other.owner]).reveal() == PLAIN
        else:
            refused(blobs[place], other, SALTS[other.owner])


@pytest.fixture
def provider(settings: Any) -> Iterator[FakeProvider]:
    with FakeProvider() as fake:
        settings.DIGITALME_UPSTREAMS = {"openai": fake.url, "anthropic": fake.url}
        yield fake


def move(one: Credential, **columns: Any) -> None:
    """What somebody does who can write to the table."""
    Credential.objects.filter(pk=one.pk).update(**columns)


@pytest.mark.django_db
@pytest.mark.parametrize("what", ["another user's", "an older version", "another row", "a version back", "cut", "text"])
def test_a_key_that_was_moved_in_the_table_is_unreadable_and_goes_nowhere(
    what: str, alice: User, bob: User, alice_client: Client, provider: FakeProvider
) -> None:
    mine, theirs = add_key(alice, KEY), add_key(bob, OTHER_KEY)
    older = mine.sealed
    mine = add_key(alice, KEY)
    new = {
        "another user's": {"sealed": theirs.sealed},
        "an older version": {"sealed": older},
        "another row": {"sealed": theirs.sealed, "salt": theirs.salt},
        "a version back": {"version": 1},
        "cut": {"sealed": {"api_key": mine.sealed["api_key"][:-4]}},
        "text": {"sealed": {"api_key": KEY}},
    }[what]
    move(mine, **new)
    answer = alice_client.post("/api/v1/keys/openai/test/")
    assert answer.status_code == 500
    assert answer.json()["code"] == "DecryptionFailed"
    assert provider.seen == []
    assert KEY not in answer.content.decode()
    assert OTHER_KEY not in answer.content.decode()


@pytest.mark.django_db
def test_another_destination_in_the_table_makes_it_unreadable(
    alice: User, alice_client: Client, provider: FakeProvider, settings: Any
) -> None:
    mine = add_key(alice, KEY)
    with FakeProvider() as sink:
        move(mine, destination=[sink.url])
        assert alice_client.post("/api/v1/keys/openai/test/").status_code == 500
        settings.DIGITALME_UPSTREAMS = {"openai": sink.url}
        assert alice_client.post("/api/v1/keys/openai/test/").status_code == 500
        assert sink.seen == []
    assert provider.seen == []


# --- T05: altered ------------------------------------------------------------------------------------


def test_every_flipped_bit_every_truncation_and_every_extension_is_noticed() -> None:
    for place in range(len(BLOB) * 8):
        changed = bytearray(BLOB)
        changed[place // 8] ^= 1 << place % 8
        refused(bytes(changed))
    for length in range(len(BLOB)):
        refused(BLOB[:length])
        refused(BLOB[length + 1 :])
    for more in range(1, 65):
        refused(BLOB + bytes(more))
        refused(bytes(more) + BLOB)


def test_every_other_format_algorithm_profile_and_length_of_key_id_is_refused_without_a_derivation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vault, "_derive", lambda *_: pytest.fail("derived"))
    for place, value in itertools.product(range(4), range(256)):
        if BLOB[place] != value:
            refused(BLOB[:place] + bytes((value,)) + BLOB[place + 1 :], salt=os.urandom(32))
    for key_id in (b"", b"unknown", b"TEST", b"test\0", "kéy".encode(), b"x" * 255):
        refused(BLOB[:3] + bytes((len(key_id),)) + key_id + BLOB[END_OF_HEADER:], salt=os.urandom(32))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(BLOB)), st.binary(max_size=12), st.integers(0, 20), st.binary(max_size=4))
def test_whatever_is_spliced_in_fails_in_the_one_way(place: int, piece: bytes, dropped: int, end: bytes) -> None:
    changed = BLOB[:place] + piece + BLOB[place + dropped :] + end
    if changed != BLOB:
        refused(changed)


def test_ten_thousand_random_changes_fail_in_the_one_way() -> None:
    chance = random.Random(17)  # noqa: S311 (a test's own, so that a failure comes again)
    for _ in range(10_000):
        changed = bytearray(BLOB)
        for _ in range(chance.randint(1, 8)):
            place = chance.randrange(len(changed))
            piece = chance.randbytes(chance.randint(0, 3))
            changed[place : place + chance.randint(0, 3)] = piece
        if changed != BLOB:
            refused(bytes(changed))


def test_a_lie_about_the_header_costs_no_more_work_than_an_honest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work is bounded: one derivation for an owner who is not at hand, none for one who is."""
    derived: list[int] = []
    real = vault._pbkdf2

    def counted(password: bytes, salt: bytes, rounds: int) -> bytes:
        derived.append(rounds)
        return real(password, salt, rounds)

    monkeypatch.setattr(vault, "_pbkdf2", counted)
    salt = os.urandom(32)
    for place in range(len(BLOB)):
        refused(BLOB[:place] + bytes((BLOB[place] ^ 0xFF,)) + BLOB[place + 1 :], salt=salt)
    assert derived == [100_000]


# --- T06: the same iv twice --------------------------------------------------------------------------

SEALS = 1_000_000


def test_a_million_seals_have_a_million_ivs() -> None:
    draw, size = vault._random, vault.IV_BYTES
    assert len({draw(size) for _ in range(SEALS)}) == SEALS
    salt = SALTS["user:1"]
    seals = {vault.seal(Secret("x"), HERE, salt)[END_OF_HEADER:][:size] for _ in range(SEALS // 50)}
    assert len(seals) == SEALS // 50


def test_seals_take_their_ivs_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault, "_random", lambda length: b"\x07" * length)
    assert vault.seal(Secret(PLAIN), HERE, SALTS["user:1"])[END_OF_HEADER:][: vault.IV_BYTES] == b"\x07" * 12


def test_a_random_source_that_repeats_itself_stops_everything_that_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", lambda length: b"\x07" * length)
    with pytest.raises(vault.RandomnessBroken):
        vault.seal(Secret(PLAIN), HERE, SALTS["user:1"])
    with pytest.raises(vault.RandomnessBroken) as problem:
        vault.new_salt()
    assert "random" in str(problem.value)


# --- T01: the dump and everything in it, without a master --------------------------------------------


def padded_base32(text: bytes) -> bytes:
    """As fingerprints stand in the table: without the padding."""
    return base64.b32decode(text + b"=" * (-len(text) % 8))


def candidates(text: list[bytes]) -> set[bytes]:
    """Whatever in a dump, or beside it, could be a key: as it stands, decoded, hashed, cut to length."""
    found = set()
    for one in {*text, product.SECRET_KEY.encode()}:
        forms = [one]
        for decode in (base64.b64decode, base64.b32decode, bytes.fromhex):
            try:
                forms.append(
                    decode(one.decode() + "=" * (-len(one) % 4)) if decode != bytes.fromhex else decode(one.decode())
                )
            except ValueError:
                continue
        for form in forms:
            found |= {form[:32], form[-32:], hashlib.sha256(form).digest(), form.ljust(32, b"\0")[:32]}
    return {one for one in found if len(one) == 32}


@pytest.mark.django_db
def test_a_stolen_database_with_the_secret_key_opens_nothing(alice: User) -> None:
    credential = add_key(alice, KEY)
    salt = bytes(OwnerSalt.objects.get(owner=f"user:{alice.pk}").salt)
    keys = candidates(everything())
    assert salt in keys
    blob = base64.b64decode(credential.sealed["api_key"])
    header, body = blob[: 4 + blob[3]], blob[4 + blob[3] :]
    context = Context(str(credential.owner), "openai", "api_key", credential.id, 1, tuple(credential.destination))
    associated = vault._associated(header, context)
    assert vault.open(blob, context, salt).reveal() == KEY, "the context is the right one"
    for key in keys:
        # As the owner's key, and as the master or the subkey from which that one is derived.
        for owners in (key, vault._derive(key, salt, vault.PROFILE) if key[:1] < b"\x08" else key):
            with pytest.raises(InvalidTag):
                AESGCM(owners).decrypt(body[:12], body[12:], associated)
        master = base64.b64encode(key).decode()
        if len(set(key)) > 12 and key[:1] < b"\x08":
            with override_settings(DIGITALME_MASTER_KEYS=f"test:{master}"):
                refused(blob, context, salt)


def everything() -> list[bytes]:
    """Every value of every row of every table."""
    found: list[bytes] = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608 (the database's own names)
            for value in itertools.chain.from_iterable(cursor.fetchall()):
                found.append(bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode())
    return found


@pytest.mark.django_db
def test_a_restored_row_opens_with_its_own_master_only(alice: User) -> None:
    credential = add_key(alice, KEY)
    stranger = base64.b64encode(os.urandom(32)).decode()
    for masters in (f"test:{stranger}", f"k2:{stranger}"):
        with override_settings(DIGITALME_MASTER_KEYS=masters), pytest.raises(CredentialUnreadable):
            resolution.unseal(resolution.resolved(credential))
    assert resolution.unseal(resolution.resolved(credential))["api_key"].reveal() == KEY


def test_places_differ_by_more_than_their_text() -> None:
    """Borders between the parts count: no text of one part runs into the next."""
    one = replace(HERE, provider="ab", field="c")
    blob = vault.seal(Secret(PLAIN), one, SALTS["user:1"])
    for provider, field in (("a", "bc"), ("abc", ""), ("", "abc"), ("ab\0", "c"), ("ab", "c\0")):
        refused(blob, replace(HERE, provider=provider, field=field))
