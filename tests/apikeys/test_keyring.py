"""The keys of the house: what is refused at start, and what a good ring gives out."""

import base64
import hmac
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core import checks
from django.test import override_settings
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from apikeys import keyring
from apikeys.apps import house_keys

ROOT = Path(__file__).resolve().parents[2]


def encoded(key: bytes) -> str:
    return base64.b64encode(key).decode()


ONE, TWO, FINGERPRINT, AUDIT = (encoded(os.urandom(32)) for _ in range(4))
GOOD = {
    "DIGITALME_MASTER_KEYS": f"k1:{ONE}",
    "DIGITALME_FINGERPRINT_KEY": FINGERPRINT,
    "DIGITALME_AUDIT_KEY": AUDIT,
}
SHORT = encoded(os.urandom(31))
SEQUENCE, BACKWARDS = encoded(bytes(range(7, 39))), encoded(bytes(range(90, 58, -1)))
REPEATED, PATTERN = encoded(b"\x55" * 32), encoded(bytes(range(100, 114)) * 3)
WIDE_PATTERN = encoded(bytes([3, 1, 4, 15, 92, 65, 35, 89, 79, 32, 38, 46, 26, 43]) * 3)
SAMPLE = encoded(b"0123456789abcdef0123456789abcdef")
FEW = encoded(b"aXbYcZdWeVf" * 3)

BAD: dict[str, tuple[dict[str, str], str]] = {
    "no master": ({"DIGITALME_MASTER_KEYS": ""}, "DIGITALME_MASTER_KEYS"),
    "only commas": ({"DIGITALME_MASTER_KEYS": " , ,\n"}, "DIGITALME_MASTER_KEYS"),
    "no id": ({"DIGITALME_MASTER_KEYS": ONE}, "DIGITALME_MASTER_KEYS"),
    "an empty id": ({"DIGITALME_MASTER_KEYS": f":{ONE}"}, "DIGITALME_MASTER_KEYS"),
    "an odd id": ({"DIGITALME_MASTER_KEYS": f"k 1:{ONE}"}, "DIGITALME_MASTER_KEYS"),
    "one id twice": ({"DIGITALME_MASTER_KEYS": f"k1:{ONE},k1:{TWO}"}, "'k1'"),
    "one master twice": ({"DIGITALME_MASTER_KEYS": f"k1:{ONE},k2:{ONE}"}, "'k2'"),
    "an empty master": ({"DIGITALME_MASTER_KEYS": "k1:"}, "'k1'"),
    "no base64": ({"DIGITALME_MASTER_KEYS": f"k1:{ONE}!"}, "'k1'"),
    "no ASCII": ({"DIGITALME_MASTER_KEYS": f"k1:{ONE}ü"}, "'k1'"),
    "a short second master": ({"DIGITALME_MASTER_KEYS": f"k1:{ONE},k2:{SHORT}"}, "'k2'"),
    "a repeated byte": ({"DIGITALME_MASTER_KEYS": f"k1:{REPEATED}"}, "'k1'"),
    "a pattern of few bytes": ({"DIGITALME_MASTER_KEYS": f"k1:{FEW}"}, "'k1'"),
    "a repeated pattern": ({"DIGITALME_MASTER_KEYS": f"k1:{WIDE_PATTERN}"}, "'k1'"),
    "a repeated sequence": ({"DIGITALME_MASTER_KEYS": f"k1:{PATTERN}"}, "'k1'"),
    "a sequence": ({"DIGITALME_MASTER_KEYS": f"k1:{SEQUENCE}"}, "'k1'"),
    "a sequence backwards": ({"DIGITALME_MASTER_KEYS": f"k1:{BACKWARDS}"}, "'k1'"),
    "a sample": ({"DIGITALME_MASTER_KEYS": f"k1:{SAMPLE}"}, "'k1'"),
    "masters and a folder of them": ({"DIGITALME_MASTER_KEYS_DIR": "/nowhere"}, "DIGITALME_MASTER_KEYS_DIR"),
    "a sealing id that is not there": ({"DIGITALME_SEALING_KEY_ID": "k9"}, "'k9'"),
    "wrapped by something unknown": ({"DIGITALME_MASTER_KEYS": f"k1:cloud:{ONE}"}, "'k1'"),
    "wrapped by a Vault of which nothing is said": ({"DIGITALME_MASTER_KEYS": f"k1:vault:v1:{ONE}"}, "'k1'"),
    "one fingerprint id twice": ({"DIGITALME_FINGERPRINT_KEY": f"f2:{ONE},f2:{TWO}"}, "'f2'"),
    "an odd fingerprint id": ({"DIGITALME_FINGERPRINT_KEY": f"f 2:{TWO}"}, "DIGITALME_FINGERPRINT_KEY"),
    "a short second fingerprint key": ({"DIGITALME_FINGERPRINT_KEY": f"f1:{TWO},f2:{SHORT}"}, "'f2'"),
    "a master as second fingerprint key": ({"DIGITALME_FINGERPRINT_KEY": f"f1:{TWO},f2:{ONE}"}, "'f2'"),
    "no fingerprint key": ({"DIGITALME_FINGERPRINT_KEY": ""}, "DIGITALME_FINGERPRINT_KEY"),
    "a short fingerprint key": ({"DIGITALME_FINGERPRINT_KEY": SHORT}, "DIGITALME_FINGERPRINT_KEY"),
    "a blank audit key": ({"DIGITALME_AUDIT_KEY": "  "}, "DIGITALME_AUDIT_KEY"),
    "equal fingerprint and audit keys": ({"DIGITALME_AUDIT_KEY": FINGERPRINT}, "DIGITALME_AUDIT_KEY"),
    "a master as audit key": ({"DIGITALME_AUDIT_KEY": ONE}, "'k1'"),
}


@pytest.mark.parametrize(("change", "named"), BAD.values(), ids=BAD)
def test_unusable_keys_are_refused_by_name_and_never_by_value(change: dict[str, str], named: str) -> None:
    with override_settings(**GOOD | change):
        with pytest.raises(keyring.UnusableKey) as refusal:
            keyring.ring()
        found = house_keys()
    assert named in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert [(one.level, one.msg) for one in found] == [(checks.CRITICAL, str(refusal.value))]
    values = [value for text in (GOOD | change).values() for value in (text, text.partition(":")[2]) if len(value) > 5]
    assert not [value for value in values if value in str(refusal.value)]


def test_a_good_ring_seals_with_the_first_master_and_keeps_the_others() -> None:
    with override_settings(**GOOD | {"DIGITALME_MASTER_KEYS": f"new:{TWO}\nold:{ONE},"}):
        ring = keyring.ring()
        assert house_keys() == []
        assert ring is keyring.ring()
    assert (ring.sealing_id, ring.ids) == ("new", ("new", "old"))
    assert "old" in ring
    assert "other" not in ring
    assert len({ring.root("new"), ring.root("old"), base64.b64decode(ONE), base64.b64decode(TWO)}) == 4
    with pytest.raises(KeyError):
        ring.root("other")


def test_the_check_value_tells_masters_apart_and_not_ids() -> None:
    with override_settings(**GOOD):
        one = keyring.ring().check_value("k1")
    with override_settings(**GOOD | {"DIGITALME_MASTER_KEYS": f"a:{ONE},b:{TWO}"}):
        ring = keyring.ring()
    assert ring.check_value("a") == one
    assert ring.check_value("b") != one


def test_a_ring_shows_ids_and_no_keys() -> None:
    with override_settings(**GOOD):
        assert repr(keyring.ring()) == "<KeyRing k1>"


def test_derivation_of_the_root_follows_rfc_5869() -> None:
    """HKDF-Expand with one block is HMAC(key, info | 0x01)."""
    import hmac

    with override_settings(**GOOD):
        root = keyring.ring().root("k1")
    assert root == hmac.digest(base64.b64decode(ONE), b"digitalme/v1/enc-root\x01", "sha256")


def folder(tmp_path: Path, files: dict[str, str]) -> dict[str, str]:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    return GOOD | {"DIGITALME_MASTER_KEYS": "", "DIGITALME_MASTER_KEYS_DIR": str(tmp_path)}


def test_masters_may_lie_in_a_folder_each_under_its_id(tmp_path: Path) -> None:
    given_ = folder(tmp_path, {"k1": f"{ONE}\n", "k2": TWO, "..data": "not a key"})
    with override_settings(**given_, DIGITALME_SEALING_KEY_ID="k2"):
        ring = keyring.ring()
        assert house_keys() == []
    assert (ring.sealing_id, ring.ids) == ("k2", ("k1", "k2"))
    with override_settings(**GOOD):
        assert keyring.ring().root("k1") == ring.root("k1")


def test_the_one_master_in_a_folder_seals(tmp_path: Path) -> None:
    with override_settings(**folder(tmp_path, {"only": ONE})):
        assert keyring.ring().sealing_id == "only"


BAD_FOLDERS: dict[str, tuple[dict[str, str], str]] = {
    "an empty folder": ({}, "DIGITALME_MASTER_KEYS_DIR"),
    "a file that is no id": ({"k 1": ONE}, "DIGITALME_MASTER_KEYS_DIR"),
    "a file that is no base64": ({"k1": "hello, world"}, "'k1'"),
    "a file of lines": ({"k1": f"{ONE}\n{TWO}"}, "'k1'"),
    "an empty file": ({"k1": ""}, "'k1'"),
    "the same key in two files": ({"k1": ONE, "k2": ONE}, "'k2'"),
}


@pytest.mark.parametrize(("files", "named"), BAD_FOLDERS.values(), ids=BAD_FOLDERS)
def test_an_unusable_folder_is_refused(files: dict[str, str], named: str, tmp_path: Path) -> None:
    with override_settings(**folder(tmp_path, files)):
        with pytest.raises(keyring.UnusableKey, match=named) as refusal:
            keyring.ring()
        assert [one.msg for one in house_keys()] == [str(refusal.value)]
    assert not [text for text in files.values() if text and text in str(refusal.value)]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    there = {"DIGITALME_MASTER_KEYS": "", "DIGITALME_MASTER_KEYS_DIR": str(tmp_path / "nowhere")}
    with override_settings(**GOOD | there), pytest.raises(keyring.UnusableKey, match="cannot be read"):
        keyring.ring()


def test_the_first_of_several_fingerprint_keys_computes() -> None:
    with override_settings(**GOOD):
        alone = keyring.ring()
    with override_settings(**GOOD | {"DIGITALME_FINGERPRINT_KEY": f"fp2:{TWO},{FINGERPRINT}"}):
        both = keyring.ring()
    assert (alone.fingerprint_ids, both.fingerprint_ids) == (("fp1",), ("fp2", "fp1"))
    assert alone.fingerprint_check_value("fp1") == both.fingerprint_check_value("fp1")
    assert alone.fingerprint(b"x") != both.fingerprint(b"x")


def test_what_the_database_says_of_masters_holds() -> None:
    with override_settings(**GOOD | {"DIGITALME_MASTER_KEYS": f"k1:{ONE},k2:{TWO}"}):
        keyring.adopt(keyring.State(sealing_id="k2", retired=frozenset({"k1"})))
        ring = keyring.ring()
        assert (ring.sealing_id, ring.ids, "k1" in ring) == ("k2", ("k2",), False)
        with pytest.raises(KeyError):
            ring.root("k1")
        assert keyring.ring() is ring
        keyring.adopt(keyring.State())
        assert keyring.ring().sealing_id == "k1"


@given(st.binary(max_size=31))
def test_whatever_is_too_short_is_refused_in_the_one_way(key: bytes) -> None:
    with (
        override_settings(**GOOD | {"DIGITALME_MASTER_KEYS": f"k1:{encoded(key)}"}),
        pytest.raises(keyring.UnusableKey, match="'k1'"),
    ):
        keyring.ring()


@settings(deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(st.lists(st.integers(0, 255), min_size=32, max_size=80, unique=True).map(bytes))
def test_any_long_and_varied_key_is_taken(key: bytes) -> None:
    assume(len({(after - before) % 256 for before, after in itertools.pairwise(key)}) > 4)
    with override_settings(**GOOD | {"DIGITALME_MASTER_KEYS": f"k1:{encoded(key)}"}):
        assert len(keyring.ring().root("k1")) == 32


def manage(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run manage.py as an operator does."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("DIGITALME_")}
    basics = {"DIGITALME_ENV_FILE": "", "SECRET_KEY": "x" * 50, "DJANGO_SETTINGS_MODULE": "digitalme.settings"}
    basics["DIGITALME_VAR_DIR"] = os.environ["DIGITALME_VAR_DIR"]
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=known | basics | environment, capture_output=True, text=True, check=False
    )


def test_without_keys_nothing_starts_but_what_makes_and_explains_them() -> None:
    refused = manage("check")
    assert refused.returncode == 1
    assert "DIGITALME_MASTER_KEYS is not set" in refused.stderr
    assert manage("set_key", "--help").returncode == 0
    made = manage("generate_master_key")
    assert made.returncode == 0
    bare = [manage("generate_master_key", "--bare").stdout.strip() for _ in range(2)]
    keys = {"DIGITALME_FINGERPRINT_KEY": bare[0], "DIGITALME_AUDIT_KEY": bare[1]}
    assert manage("check", DIGITALME_MASTER_KEYS=made.stdout.strip(), **keys).returncode == 0


def test_a_server_does_not_start_with_a_weak_key() -> None:
    environment = os.environ | {"DIGITALME_MASTER_KEYS": f"k7:{SEQUENCE}", "DJANGO_SETTINGS_MODULE": "tests.settings"}
    command = [sys.executable, "-m", "digitalme.server", "--port", "0"]
    refused = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert refused.returncode != 0
    assert "'k7'" in refused.stderr
    assert SEQUENCE not in refused.stderr + refused.stdout


def test_what_unwraps_masters_is_not_shown_either() -> None:
    shown = repr(keyring._Vault("https://vault.example", "hvs.a-token-of-the-vault", "transit"))
    assert "hvs." not in shown


def refusal(**change: str) -> str:
    """The sentence with which these keys are refused."""
    with override_settings(**GOOD | change), pytest.raises(keyring.UnusableKey) as problem:
        keyring.ring()
    return str(problem.value)


def test_a_refusal_names_what_to_change_exactly() -> None:
    """An operator searches for these words in the configuration."""
    assert "DIGITALME_FINGERPRINT_KEY is too short" in refusal(DIGITALME_FINGERPRINT_KEY=SHORT)
    assert "DIGITALME_FINGERPRINT_KEY must read" in refusal(DIGITALME_FINGERPRINT_KEY=f"f 2:{TWO}")
    assert "DIGITALME_FINGERPRINT_KEY 'f2' is too" in refusal(DIGITALME_FINGERPRINT_KEY=f"f1:{TWO},f2:{SHORT}")
    assert "DIGITALME_MASTER_KEYS must read" in refusal(DIGITALME_MASTER_KEYS=ONE)
    assert "DIGITALME_AUDIT_KEY is not set" in refusal(DIGITALME_AUDIT_KEY=" ")
    assert refusal(DIGITALME_MASTER_KEYS="").endswith("python manage.py generate_master_key")


@pytest.mark.parametrize(
    ("change", "one", "other"),
    [
        ({"DIGITALME_AUDIT_KEY": ONE}, "the master key 'k1'", "DIGITALME_AUDIT_KEY"),
        ({"DIGITALME_AUDIT_KEY": FINGERPRINT}, "DIGITALME_FINGERPRINT_KEY", "DIGITALME_AUDIT_KEY"),
        ({"DIGITALME_FINGERPRINT_KEY": ONE}, "the master key 'k1'", "DIGITALME_FINGERPRINT_KEY"),
        (
            {"DIGITALME_FINGERPRINT_KEY": f"f1:{TWO},f2:{ONE}"},
            "the master key 'k1'",
            "DIGITALME_FINGERPRINT_KEY 'f2'",
        ),
    ],
)
def test_a_key_that_stands_twice_is_named_in_both_places(change: dict[str, str], one: str, other: str) -> None:
    assert f"as {one} and as {other}." in refusal(**change)


def test_masters_in_a_folder_and_in_the_variable_are_too_many(tmp_path: Path) -> None:
    (tmp_path / "k2").write_text(TWO)
    assert "both" in refusal(DIGITALME_MASTER_KEYS_DIR=str(tmp_path))


def test_of_several_in_a_folder_none_seals_by_itself(tmp_path: Path) -> None:
    for name, key in (("k1", ONE), ("k2", TWO)):
        (tmp_path / name).write_text(key)
        (tmp_path / ".hidden").write_text("not a key")
    with override_settings(**GOOD | {"DIGITALME_MASTER_KEYS": "", "DIGITALME_MASTER_KEYS_DIR": str(tmp_path)}):
        ring = keyring.ring()
    assert (ring.ids, ring.configured_id) == (("k1", "k2"), "")
    assert repr(ring) == "<KeyRing k1, k2>"


def test_the_check_value_is_the_documented_one() -> None:
    """Eight bytes of HKDF-Expand (RFC 5869) under a purpose of its own; the database keeps it for good."""
    with override_settings(**GOOD):
        ring = keyring.ring()

    def by_the_book(key: str) -> str:
        return hmac.digest(base64.b64decode(key), b"digitalme/v1/kcv\x01", "sha256")[:8].hex()

    assert ring.check_value("k1") == by_the_book(ONE)
    assert ring.fingerprint_check_value(ring.fingerprint_id) == by_the_book(FINGERPRINT)
