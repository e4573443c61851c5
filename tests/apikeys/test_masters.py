"""What the database knows of the keys of the house: nothing starts with other ones."""

import base64
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from apikeys import keyring, masters, resolution, vault
from apikeys.models import Credential, HouseKey
from digitalme.accounts.models import User
from providers.secrets import Secret
from tests.apikeys.conftest import KEY, add_key
from tests.gateway.conftest import database_url

ROOT = Path(__file__).resolve().parents[2]


def new() -> str:
    return base64.b64encode(os.urandom(32)).decode()


ONE, TWO, OTHER = new(), new(), new()


@pytest.fixture
def _two(db: None, settings: Any) -> None:
    """A house with two masters, of which the first one seals, that its database knows."""
    settings.DIGITALME_MASTER_KEYS = f"k1:{ONE},k2:{TWO}"
    masters.verify()


def state(kind: str = "master") -> dict[str, str]:
    return dict(HouseKey.objects.filter(kind=kind).values_list("key_id", "state"))


@pytest.mark.usefixtures("_two")
def test_keys_are_noted_when_they_are_first_seen_and_hold_from_then_on(settings: Any) -> None:
    masters.verify()
    assert {"k1": "known", "k2": "known"}.items() <= state().items()
    assert "fp1" in state("fingerprint")
    for change in (f"k1:{OTHER}", f"k1:{ONE},k2:{OTHER}", f"k1:{TWO}"):
        settings.DIGITALME_MASTER_KEYS = change
        with pytest.raises(keyring.UnusableKey, match=r"master key 'k[12]' is not the one") as refusal:
            masters.verify()
        assert not [one for one in (ONE, TWO, OTHER) if one in str(refusal.value)]


@pytest.mark.usefixtures("_two")
def test_another_fingerprint_key_under_a_known_id_is_refused(settings: Any) -> None:
    settings.DIGITALME_FINGERPRINT_KEY = OTHER
    with pytest.raises(keyring.UnusableKey, match="fingerprint key 'fp1' is not the one") as refusal:
        masters.verify()
    assert OTHER not in str(refusal.value)


@pytest.mark.usefixtures("_two")
def test_a_database_without_check_values_knows_its_master_by_what_opens(alice: User, bob: User, settings: Any) -> None:
    add_key(alice)
    add_key(bob)
    HouseKey.objects.all().delete()
    settings.DIGITALME_MASTER_KEYS = f"k1:{OTHER}"
    with pytest.raises(keyring.UnusableKey, match="'k1' opens nothing of what is stored"):
        masters.verify()
    assert not HouseKey.objects.exists()
    Credential.objects.filter(user=alice).update(version=7)  # one that was altered does not count
    settings.DIGITALME_MASTER_KEYS = f"k1:{ONE}"
    masters.verify()
    assert "k1" in state()


@pytest.mark.usefixtures("_two")
def test_what_is_stored_is_no_key_and_tells_none() -> None:
    stored = HouseKey.objects.get(key_id="k1").check_value
    assert len(stored) == 16
    assert bytes.fromhex(stored) not in base64.b64decode(ONE)


@pytest.mark.usefixtures("_two")
def test_a_master_that_stored_keys_need_must_be_there(alice: User, settings: Any) -> None:
    add_key(alice)
    settings.DIGITALME_MASTER_KEYS = f"k2:{TWO}"
    with pytest.raises(keyring.UnusableKey, match=r"'k1'.*old backup"):
        masters.verify()
    settings.DIGITALME_MASTER_KEYS = f"k2:{TWO},k1:{ONE}"
    masters.verify()
    assert resolution.unseal(resolution.resolved(Credential.objects.get()))["api_key"].reveal() == KEY


@pytest.mark.usefixtures("_two")
def test_a_master_that_was_promoted_seals_whatever_comes_first_and_must_be_there(alice: User, settings: Any) -> None:
    HouseKey.objects.filter(key_id="k2").update(state="sealing")
    masters.verify()
    assert add_key(alice).key_id == "k2"
    settings.DIGITALME_MASTER_KEYS = f"k1:{ONE}"
    with pytest.raises(keyring.UnusableKey, match="'k2' seals, but it is not here"):
        masters.verify()


@pytest.mark.usefixtures("_two")
def test_a_process_that_holds_another_master_than_the_promoted_one_seals_nothing(alice: User, settings: Any) -> None:
    add_key(alice)
    settings.DIGITALME_MASTER_KEYS = f"k1:{ONE}"
    HouseKey.objects.filter(key_id="k2").update(state="sealing")
    with pytest.raises(masters.CannotSeal):
        add_key(alice, KEY + "2")
    masters.refresh()
    with pytest.raises(masters.CannotSeal):
        add_key(alice, KEY + "2")
    with pytest.raises(keyring.UnusableKey, match="'k2'"):
        vault.seal(Secret("x"), context(Credential.objects.get()), b"s" * 32)
    # What it could open before it still opens.
    assert resolution.unseal(resolution.resolved(Credential.objects.get()))["api_key"].reveal() == KEY


@pytest.mark.usefixtures("_two")
def test_nothing_is_sealed_with_other_bytes_under_a_known_id(alice: User, settings: Any) -> None:
    settings.DIGITALME_MASTER_KEYS = f"k1:{OTHER}"  # as in a process that nobody has checked
    with pytest.raises(masters.CannotSeal):
        add_key(alice)
    assert not Credential.objects.exists()


@pytest.mark.usefixtures("_two")
def test_a_retired_master_opens_nothing_once_a_minute_has_passed(alice: User) -> None:
    credential = add_key(alice)
    now = timezone.now()
    HouseKey.objects.filter(key_id="k1").update(state="retired", retired_at=now)
    HouseKey.objects.filter(key_id="k2").update(state="sealing")
    masters.verify(now + timedelta(seconds=masters.STILL_OPENS_SECONDS - 1))
    key = resolution.resolved(credential)
    assert resolution.unseal(key)["api_key"].reveal() == KEY
    masters.verify(now + timedelta(seconds=masters.STILL_OPENS_SECONDS))
    with pytest.raises(vault.CredentialUnreadable):
        resolution.unseal(key)
    assert keyring.ring().ids == ("k2",)


@pytest.mark.usefixtures("_two")
def test_a_retired_master_does_not_seal(settings: Any) -> None:
    HouseKey.objects.filter(key_id="k1").update(state="retired")
    with pytest.raises(keyring.UnusableKey, match="'k1' seals, but it is retired"):
        masters.verify()


def test_of_a_folder_of_several_one_must_be_named_or_promoted(db: None, settings: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_text(ONE)
    (tmp_path / "b").write_text(TWO)
    settings.DIGITALME_MASTER_KEYS, settings.DIGITALME_MASTER_KEYS_DIR = "", str(tmp_path)
    with pytest.raises(keyring.UnusableKey, match="DIGITALME_SEALING_KEY_ID"):
        masters.verify()
    HouseKey.objects.update_or_create(key_id="b", kind="master", defaults={"state": "sealing"})
    masters.verify()
    assert keyring.ring().sealing_id == "b"


def test_every_table_with_sealed_columns_is_one_that_rotation_knows() -> None:
    from django.apps import apps

    sealed = {model for model in apps.get_models() for field in model._meta.fields if field.name.startswith("sealed")}
    assert sealed == set(masters.SEALED_TABLES)


def context(credential: Credential) -> vault.Context:
    key = resolution.resolved(credential)
    return vault.Context(key.owner, key.provider, "api_key", credential.id, key.version, key.destination)


# --- Whole processes ----------------------------------------------------------------------------


def ended(*command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a program of the product on the test database to its end."""
    given = {"DJANGO_SETTINGS_MODULE": "tests.settings", "DATABASE_URL": database_url()}
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, **given, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


PROCESSES = {
    "web": ("-m", "digitalme.server", "--port", "0"),
    "worker": ("-m", "celery", "-A", "digitalme", "worker", "--pool=solo", "--loglevel=ERROR"),
    "a command": ("manage.py", "set_key", "openai", "--system"),
}


@pytest.mark.parametrize("command", PROCESSES.values(), ids=PROCESSES)
@pytest.mark.django_db(transaction=True)
def test_a_process_with_other_bytes_under_a_known_id_does_not_start(command: tuple[str, ...], settings: Any) -> None:
    settings.DIGITALME_MASTER_KEYS = f"k1:{ONE}"
    masters.verify()
    refused = ended(*command, DIGITALME_MASTER_KEYS=f"k1:{OTHER}")
    assert refused.returncode == 1
    assert "The master key 'k1' is not the one that this database knows" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert OTHER not in refused.stderr + refused.stdout


@pytest.mark.django_db(transaction=True)
def test_migrations_need_no_particular_master(settings: Any) -> None:
    settings.DIGITALME_MASTER_KEYS = f"k1:{ONE}"
    masters.verify()
    assert ended("manage.py", "migrate", DIGITALME_MASTER_KEYS=f"k1:{OTHER}").returncode == 0


def test_without_tables_nothing_serves(tmp_path: Path) -> None:
    refused = ended(*PROCESSES["web"], DATABASE_URL=f"sqlite:///{tmp_path / 'empty.sqlite3'}")
    assert refused.returncode == 1
    assert "manage.py prepare" in refused.stderr
