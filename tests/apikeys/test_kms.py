"""Masters that a Vault has wrapped: unwrapped at start, or the process does not start."""

import base64
import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError

from apikeys import keyring, kms, masters, resolution
from apikeys.apps import house_keys
from digitalme.accounts.models import User
from tests.apikeys.conftest import KEY, add_key
from tests.apikeys.test_masters import PROCESSES, ended
from tests.apikeys.transit import TOKEN, Transit
from tests.commands import run

MASTER = os.urandom(32)


@pytest.fixture
def transit() -> Iterator[Transit]:
    with Transit() as server:
        yield server


@pytest.fixture
def _wrapped(transit: Transit, settings: Any) -> None:
    """A house whose one master only the Vault can open."""
    settings.DIGITALME_MASTER_KEYS = f"k1:{transit.wrap(MASTER)}"
    settings.DIGITALME_VAULT_ADDR, settings.DIGITALME_VAULT_TOKEN = transit.address, TOKEN


@pytest.mark.usefixtures("_wrapped")
def test_a_wrapped_master_seals_and_opens_as_the_same_one_in_the_clear(
    alice: User, settings: Any, transit: Transit
) -> None:
    masters.verify()
    credential = add_key(alice)
    settings.DIGITALME_MASTER_KEYS = f"k1:{base64.b64encode(MASTER).decode()}"
    masters.verify()
    assert resolution.unseal(resolution.resolved(credential))["api_key"].reveal() == KEY
    assert transit.asked == ["/v1/transit/decrypt/digitalme"]


@pytest.mark.usefixtures("_wrapped")
def test_the_vault_is_asked_once_in_a_process_and_not_by_mere_checks(transit: Transit) -> None:
    assert house_keys() == []
    assert transit.asked == []
    assert keyring.ring() is keyring.ring()
    keyring.adopt(keyring.State(retired=frozenset({"k0"})))
    assert keyring.ring().ids == ("k1",)
    assert len(transit.asked) == 1


@pytest.mark.usefixtures("_wrapped")
def test_wrapped_and_plain_masters_stand_side_by_side(settings: Any) -> None:
    settings.DIGITALME_MASTER_KEYS += f",k2:{base64.b64encode(os.urandom(32)).decode()}"
    assert keyring.ring().ids == ("k1", "k2")


@pytest.mark.usefixtures("_wrapped")
def test_a_new_master_is_made_by_the_vault_and_never_seen(settings: Any) -> None:
    line = run("generate_master_key", "--vault", "--id", "k2").strip()
    assert re.fullmatch(r"k2:vault:v1:[A-Za-z0-9+/=]+", line)
    settings.DIGITALME_MASTER_KEYS = line
    assert keyring.ring().sealing_id == "k2"


@pytest.mark.usefixtures("_wrapped")
@pytest.mark.parametrize("bad", [(403, b""), (200, b'{"data": {}}'), (200, b'{"data": {"ciphertext": "x,y"}}')])
def test_a_new_master_that_the_vault_does_not_give_is_one_clear_line(bad: tuple[int, bytes], transit: Transit) -> None:
    transit.answer = bad
    with pytest.raises(CommandError, match="the Vault"):
        run("generate_master_key", "--vault")


def test_what_knows_the_token_shows_it_to_nobody(settings: Any) -> None:
    settings.DIGITALME_VAULT_ADDR, settings.DIGITALME_VAULT_TOKEN = "http://127.0.0.1:9", TOKEN
    assert repr(kms.vault_of(settings)) == "<VaultTransit>"


def answer(**data: object) -> bytes:
    return json.dumps({"data": data}).encode()


BAD_ANSWERS: dict[str, tuple[int, bytes]] = {
    "a refused token": (403, b'{"errors": ["permission denied"]}'),
    "an unknown key": (400, b'{"errors": ["encryption key not found"]}'),
    "an unknown engine": (404, b'{"errors": []}'),
    "a sealed Vault": (503, b'{"errors": ["Vault is sealed"]}'),
    "a redirect": (307, b""),
    "garbage": (200, b"<html>hello</html>"),
    "no data": (200, b"{}"),
    "data of another shape": (200, b'{"data": []}'),
    "no plaintext": (200, answer(ciphertext="x")),
    "a plaintext that is no base64": (200, answer(plaintext="!!!")),
    "a plaintext that is no text": (200, answer(plaintext=7)),
    "a short key": (200, answer(plaintext=base64.b64encode(os.urandom(16)).decode())),
    "a weak key": (200, answer(plaintext=base64.b64encode(bytes(32)).decode())),
    "an empty answer": (200, b""),
}


@pytest.mark.usefixtures("_wrapped")
@pytest.mark.parametrize("bad", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_whatever_the_vault_answers_wrongly_is_one_sentence_with_the_id(
    bad: tuple[int, bytes], transit: Transit, settings: Any
) -> None:
    transit.answer = bad
    with pytest.raises(keyring.UnusableKey, match="'k1'") as refused:
        keyring.ring()
    said = str(refused.value)
    assert "\n" not in said
    assert TOKEN not in said
    assert settings.DIGITALME_MASTER_KEYS.removeprefix("k1:") not in said
    transit.answer = None
    assert keyring.ring().sealing_id == "k1"


CHANGES: dict[str, dict[str, str]] = {
    "another token": {"DIGITALME_VAULT_TOKEN": "hvs.wrong"},
    "no token": {"DIGITALME_VAULT_TOKEN": ""},
    "a token that cannot be one": {"DIGITALME_VAULT_TOKEN": "two\nlines"},
    "no address": {"DIGITALME_VAULT_ADDR": ""},
    "an address that is none": {"DIGITALME_VAULT_ADDR": "vault.example"},
    "nobody there": {"DIGITALME_VAULT_ADDR": "http://127.0.0.1:9"},
    "another transit key": {"DIGITALME_VAULT_KEY": "others"},
    "a transit key that cannot be one": {"DIGITALME_VAULT_KEY": "../sys/seal"},
}


@pytest.mark.usefixtures("_wrapped")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_vault_that_is_described_wrongly_is_refused(change: dict[str, str], settings: Any) -> None:
    for name, value in change.items():
        setattr(settings, name, value)
    with pytest.raises(keyring.UnusableKey, match="The master key 'k1' cannot be unwrapped") as refused:
        keyring.ring()
    assert not [value for value in change.values() if value.startswith("hvs") and value in str(refused.value)]


@pytest.mark.usefixtures("_wrapped")
def test_a_master_that_was_altered_or_wrapped_elsewhere_is_refused(settings: Any) -> None:
    with Transit() as other:
        settings.DIGITALME_MASTER_KEYS = f"k1:{other.wrap(MASTER)}"
        with pytest.raises(keyring.UnusableKey, match="cannot decrypt"):
            keyring.ring()


@pytest.mark.django_db(transaction=True)
def test_a_server_without_its_vault_does_not_start(transit: Transit) -> None:
    wrapped = transit.wrap(MASTER)
    given = {"DIGITALME_MASTER_KEYS": f"k1:{wrapped}", "DIGITALME_VAULT_TOKEN": TOKEN}
    refused = ended(*PROCESSES["web"], DIGITALME_VAULT_ADDR="http://127.0.0.1:9", **given)
    assert refused.returncode == 1
    assert "The master key 'k1' cannot be unwrapped" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert TOKEN not in refused.stderr
    assert wrapped not in refused.stderr
    assert (
        ended("manage.py", "rotate_master_key", "status", DIGITALME_VAULT_ADDR=transit.address, **given).returncode == 0
    )
