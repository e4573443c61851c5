"""The vault: what is sealed opens in its own place and nowhere else, and fails in one way only."""

import base64
import hashlib
import os
import pickle
import statistics
import struct
import threading
import time
import uuid
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.test import override_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeys import keyring, vault
from apikeys.vault import Context, CredentialUnreadable, DerivedKeys
from digitalme.errors import DecryptionFailed, ErrorCode
from digitalme.material import UnusableKey
from providers.secrets import Secret

SALT = os.urandom(32)
CONTEXT = Context("user:7d1f", "openai", "api_key", uuid.UUID(int=7), 3, ("https://api.openai.com",))
PLAIN = "sk-" + "v" * 48
SECRET = Secret(PLAIN)
BLOB = vault.seal(SECRET, CONTEXT, SALT)
HEADER = 4 + len("test")
ELSEWHERE: dict[str, Any] = {
    "owner": "user:7d20",
    "provider": "anthropic",
    "field": "organisation",
    "credential_id": uuid.UUID(int=8),
    "version": 4,
    "destination": ("https://api.openai.com.evil.example",),
}


def opened(blob: bytes, context: Context = CONTEXT, salt: bytes = SALT) -> str:
    return vault.open(blob, context, salt).reveal()


def refused(blob: bytes, context: Context = CONTEXT, salt: bytes = SALT) -> None:
    with pytest.raises(CredentialUnreadable) as problem:
        vault.open(blob, context, salt)
    assert problem.value.credential_id == context.credential_id
    assert PLAIN not in str(problem.value)


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300), st.integers(0, 2**64 - 1))
def test_what_is_sealed_opens(text: str, version: int) -> None:
    context = replace(CONTEXT, version=version)
    assert opened(vault.seal(Secret(text), context, SALT), context) == text


def test_the_format_is_the_documented_one() -> None:
    assert BLOB[:HEADER] == b"\x01\x01\x01\x04test"
    assert len(BLOB) == HEADER + 12 + len(PLAIN) + 16
    ring = keyring.ring()
    key = hashlib.pbkdf2_hmac("sha256", ring.root("test"), b"digitalme/v1/user\0" + SALT, 100_000, 32)

    def lp(part: bytes) -> bytes:
        return struct.pack(">I", len(part)) + part

    destination = hashlib.sha256(lp(b"https://api.openai.com")).digest()
    place = b"".join(map(lp, (b"user:7d1f", b"openai", b"api_key", uuid.UUID(int=7).bytes)))
    associated = lp(b"digitalme.cred") + lp(BLOB[:HEADER]) + place + struct.pack(">Q", 3) + lp(destination)
    assert AESGCM(key).decrypt(BLOB[HEADER : HEADER + 12], BLOB[HEADER + 12 :], associated) == PLAIN.encode()


@pytest.mark.parametrize("field", ELSEWHERE)
def test_a_secret_does_not_open_elsewhere(field: str) -> None:
    refused(BLOB, replace(CONTEXT, **{field: ELSEWHERE[field]}))


def test_a_secret_does_not_open_with_a_destination_more_or_none() -> None:
    refused(BLOB, replace(CONTEXT, destination=(*CONTEXT.destination, "https://evil.example")))
    refused(BLOB, replace(CONTEXT, destination=()))


def test_the_order_of_destinations_does_not_matter() -> None:
    here = replace(CONTEXT, destination=("https://a.example", "https://b.example"))
    blob = vault.seal(SECRET, here, SALT)
    assert opened(blob, replace(here, destination=here.destination[::-1])) == PLAIN


def test_borders_between_parts_count() -> None:
    blob = vault.seal(SECRET, replace(CONTEXT, provider="ab", field="c"), SALT)
    refused(blob, replace(CONTEXT, provider="a", field="bc"))


def test_another_owners_salt_opens_nothing() -> None:
    refused(BLOB, salt=os.urandom(32))


_PLACES = st.builds(
    Context,
    st.sampled_from(["user:1", "user:2", "team:1", "system"]),
    st.sampled_from(["openai", "anthropic"]),
    st.sampled_from(["api_key", "org"]),
    st.sampled_from([uuid.UUID(int=1), uuid.UUID(int=2)]),
    st.integers(1, 3),
    st.sampled_from([("https://a.example",), ("https://a.example", "https://b.example")]),
)


@settings(deadline=None)
@given(_PLACES, _PLACES)
def test_swapped_rows_open_only_where_the_places_are_equal(one: Context, other: Context) -> None:
    blob = vault.seal(SECRET, one, SALT)
    if one == other:
        assert opened(blob, other) == PLAIN
    else:
        refused(blob, other)


@pytest.mark.parametrize("version", [-1, 2**64])
def test_an_impossible_version_is_unreadable(version: int) -> None:
    refused(BLOB, replace(CONTEXT, version=version))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_garbage_fails_in_the_one_way(blob: bytes) -> None:
    refused(blob)


def test_a_master_that_is_not_here_opens_nothing() -> None:
    other = base64.b64encode(os.urandom(32)).decode()
    with override_settings(DIGITALME_MASTER_KEYS=f"k2:{other}"):
        refused(BLOB)
    with override_settings(DIGITALME_MASTER_KEYS=f"test:{other}"):
        refused(BLOB)
    assert opened(BLOB) == PLAIN


def test_a_retired_master_still_opens() -> None:
    from django.conf import settings as now

    with override_settings(
        DIGITALME_MASTER_KEYS=f"k2:{base64.b64encode(os.urandom(32)).decode()},{now.DIGITALME_MASTER_KEYS}"
    ):
        assert opened(BLOB) == PLAIN
        assert vault.key_id_of(vault.seal(SECRET, CONTEXT, SALT)) == "k2"
    assert vault.key_id_of(BLOB) == "test"
    assert vault.key_id_of(b"x") == ""


def test_unreadable_is_a_decryption_failure_that_survives_a_queue() -> None:
    problem = pickle.loads(pickle.dumps(CredentialUnreadable(uuid.UUID(int=9))))  # noqa: S301 (made here)
    assert isinstance(problem, DecryptionFailed)
    assert problem.code is ErrorCode.DECRYPTION_FAILED
    assert problem.data == {"credential_id": str(uuid.UUID(int=9))}


def test_a_fingerprint_is_keyed_and_bound_to_scope_and_provider() -> None:
    mark = vault.fingerprint("owner:user:1", "openai", SECRET)
    assert mark == vault.fingerprint("owner:user:1", "openai", Secret(PLAIN))
    assert len(mark) == 52
    others = {
        vault.fingerprint("owner:user:2", "openai", SECRET),
        vault.fingerprint("owner:user:1", "anthropic", SECRET),
        vault.fingerprint("owner:user:1", "openai", Secret(PLAIN + "x")),
    }
    with override_settings(DIGITALME_FINGERPRINT_KEY=base64.b64encode(os.urandom(32)).decode()):
        others.add(vault.fingerprint("owner:user:1", "openai", SECRET))
    assert mark not in others
    assert len(others) == 4


def test_an_owner_is_warm_after_the_first_use() -> None:
    salt = vault.new_salt()
    assert len(salt) == 32
    assert not vault.is_warm("user:1", "test", salt)
    vault.warm_up("user:1", salt)
    assert vault.is_warm("user:1", "test", salt)
    assert vault.is_warm("user:1", "unknown", salt)


def test_without_the_sealing_master_nothing_is_derived(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = replace(keyring.ring(), sealing_id="gone")
    monkeypatch.setattr(keyring, "ring", lambda: gone)
    salt = vault.new_salt()
    vault.warm_up("user:1", salt)
    assert not vault.is_warm("user:1", "test", salt)


def test_which_master_sealed_is_told_by_the_blob() -> None:
    assert vault.key_id_of(BLOB) == "test"
    assert vault.key_id_of(b"sealed otherwise") == ""


class Derivations:
    """A cache with a clock of its own, in which each derivation is counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, size: int = 3) -> None:
        self.now, self.count = 1000.0, 0
        self.keys = DerivedKeys(lambda: self.now, size)
        monkeypatch.setattr(vault, "_derive", self._derive)

    def _derive(self, root: bytes, salt: bytes, profile: int) -> bytes:
        self.count += 1
        return os.urandom(32)

    def use(self, owner: str = "user:1") -> AESGCM:
        return self.keys.cipher(keyring.ring(), "test", 1, owner, SALT)

    def holds(self, owner: str = "user:1") -> bool:
        return self.keys.holds(keyring.ring(), "test", 1, owner, SALT)


def test_a_derived_key_is_kept_while_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Derivations(monkeypatch)
    first = kept.use()
    kept.now += 299
    assert kept.use() is first
    kept.now += 299
    assert kept.use() is first
    assert kept.count == 1


def test_a_derived_key_is_dropped_after_300_idle_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Derivations(monkeypatch)
    kept.use()
    kept.now += 300
    assert not kept.holds()
    kept.use()
    assert kept.count == 2


def test_a_derived_key_is_dropped_after_900_seconds_whatever_its_use(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Derivations(monkeypatch)
    for _ in range(6):
        kept.use()
        kept.now += 200
    assert kept.count == 2


def test_the_longest_unused_owner_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Derivations(monkeypatch)
    for owner in ("a", "b", "c", "a", "d"):
        kept.use(owner)
        kept.now += 1
    assert [kept.holds(owner) for owner in "abcd"] == [True, False, True, True]
    assert kept.count == 4


def test_idle_keys_do_not_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Derivations(monkeypatch)
    kept.use("a")
    kept.use("b")
    kept.now += 300
    kept.use("c")
    assert len(kept.keys) == 1
    kept.keys.clear()
    assert len(kept.keys) == 0


def test_a_crowd_of_one_owner_derives_once(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Derivations(monkeypatch)
    start, slow = threading.Barrier(8), threading.Event()

    def derive(root: bytes, salt: bytes, profile: int) -> bytes:
        kept.count += 1
        slow.wait(0.2)
        return os.urandom(32)

    monkeypatch.setattr(vault, "_derive", derive)
    found: list[AESGCM] = []

    def work() -> None:
        start.wait()
        found.append(kept.use())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept.count == 1
    assert len(set(map(id, found))) == 1


def test_only_so_many_owners_are_derived_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, running, most, lock = Derivations(monkeypatch, 100), 0, 0, threading.Lock()

    def derive(root: bytes, salt: bytes, profile: int) -> bytes:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.02)
        with lock:
            running -= 1
        return os.urandom(32)

    monkeypatch.setattr(vault, "_derive", derive)
    threads = [threading.Thread(target=kept.use, args=(f"user:{number}",)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 < most <= vault.MAX_DERIVATIONS


def test_a_crowd_of_new_owners_does_not_hold_up_the_warm_ones() -> None:
    opened(BLOB)
    salts = [os.urandom(32) for _ in range(60)]
    threads = [
        threading.Thread(target=vault.warm_up, args=(f"user:{number}", salt)) for number, salt in enumerate(salts)
    ]
    for thread in threads:
        thread.start()
    took = []
    while any(thread.is_alive() for thread in threads):
        start = time.perf_counter()
        opened(BLOB)
        took.append(time.perf_counter() - start)
        time.sleep(0.002)
    assert statistics.quantiles(took, n=20)[-1] < 0.05


def test_what_the_documentation_says_of_sizes_and_times_stands() -> None:
    assert (vault.ROUNDS, vault.KEY_BYTES, vault.SALT_BYTES) == ({1: 100_000}, 32, 32)
    assert (vault.CACHED_OWNERS, vault.IDLE_SECONDS, vault.HARD_SECONDS) == (1_000, 300, 900)
    assert 2 * (os.cpu_count() or 1) == vault.MAX_DERIVATIONS


def test_nothing_is_sealed_by_a_master_that_is_not_here() -> None:
    with pytest.raises(UnusableKey, match="'k9'"):
        vault.seal(SECRET, CONTEXT, SALT, "k9")
    assert vault.key_id_of(vault.seal(SECRET, CONTEXT, SALT, "test")) == "test"


def test_a_blob_that_is_cut_down_to_its_header_has_no_master() -> None:
    assert [vault.key_id_of(BLOB[:length]) for length in (0, 3, 4, HEADER, HEADER + 27)] == [""] * 5
    assert vault.key_id_of(BLOB[: HEADER + 28]) == "test"


def test_texts_that_no_encoding_takes_open_as_they_were() -> None:
    """An encoding error would carry the whole secret."""
    odd = Secret("half \ud800 of a character")
    assert opened(vault.seal(odd, CONTEXT, SALT)) == odd.reveal()
    assert vault.fingerprint("owner:1", "openai", odd) == vault.fingerprint("owner:1", "openai", odd)


def test_an_unknown_master_is_unreadable_whatever_its_id() -> None:
    for key_id in (b"", b"k9", b"\xff\xfe"):
        refused(BLOB[:3] + bytes((len(key_id),)) + key_id + BLOB[HEADER:])


def test_several_destinations_are_bound_as_documented() -> None:
    one, other = b"https://a.example", b"https://b.example"
    parts = b"".join(struct.pack(">I", len(part)) + part for part in (one, other))
    assert vault._digest((other.decode(), one.decode())) == hashlib.sha256(parts).digest()


def test_the_fingerprint_is_the_documented_one() -> None:
    message = b"".join(struct.pack(">I", len(part)) + part for part in (b"owner:1", b"openai", PLAIN.encode()))
    digest = keyring.ring().fingerprint(message)
    assert vault.fingerprint("owner:1", "openai", SECRET) == base64.b32encode(digest).decode().rstrip("=")
