"""Adding, replacing, switching off and removing keys."""

import base64
import itertools
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models import Model

from apikeys import keys, resolution
from apikeys.keys import Owner
from apikeys.models import Credential, OwnerSalt
from apikeys.vault import CredentialUnreadable
from digitalme.accounts.models import Team, User
from digitalme.errors import InvalidKeyFormat, InvalidRequest, KeyNotFound
from providers import registry
from providers.registry import Provider
from providers.secrets import Secret
from tests.apikeys.conftest import KEY, OTHER_KEY, add_key, owned_by


def opened(credential: Credential) -> str:
    """The key, read afresh from the table."""
    stored = Credential.objects.get(pk=credential.pk)
    return resolution.unseal(resolution.resolved(stored))["api_key"].reveal()


def test_a_key_is_added(alice: User, openai: Provider) -> None:
    credential = keys.set_key(
        actor=alice, owner=owned_by(alice), provider=openai, fields={"api_key": f"  {KEY}\n"}, display_name="Work"
    )
    assert opened(credential) == KEY
    assert (credential.version, credential.status, credential.is_active) == (1, "unknown", True)
    assert (credential.hint, credential.display_name) == ("WXYZ", "Work")
    assert credential.destination == ["https://api.openai.com"]
    assert credential.key_id == "test"


@pytest.mark.parametrize("kind", ["user", "team", "system"])
def test_a_person_a_team_or_the_house_owns_a_key(kind: str, alice: User, team: Team) -> None:
    owner = {"user": alice, "team": team, "system": None}[kind]
    credential = add_key(owner)
    assert credential.owner == str(owned_by(owner))
    assert OwnerSalt.objects.get(owner=credential.owner) == credential.salt
    assert opened(credential) == KEY


def test_replacing_keeps_the_row_and_raises_the_version(alice: User) -> None:
    old = add_key(alice)
    sealed = old.sealed["api_key"]
    Credential.objects.filter(pk=old.pk).update(
        status="invalid", status_detail="No.", is_active=False, display_name="Work"
    )
    new = add_key(alice, OTHER_KEY)
    assert (new.pk, new.version, new.created_at) == (old.pk, 2, old.created_at)
    assert (new.status, new.status_detail, new.is_active, new.display_name) == ("unknown", "", True, "Work")
    assert (new.hint, new.fingerprint != old.fingerprint) == ("3210", True)
    assert opened(new) == OTHER_KEY
    Credential.objects.filter(pk=old.pk).update(sealed={"api_key": sealed})
    with pytest.raises(CredentialUnreadable):
        opened(new)


def test_the_same_key_has_the_same_fingerprint_for_one_owner_only(alice: User, bob: User) -> None:
    first = add_key(alice).fingerprint
    assert add_key(alice).fingerprint == first
    assert add_key(bob).fingerprint != first


@pytest.mark.parametrize(("length", "shown"), [(8, ""), (19, ""), (20, "wxyz"), (8192, "wxyz")])
def test_only_long_keys_show_their_last_four(length: int, shown: str) -> None:
    assert keys.hint(Secret("wxyz".rjust(length, "a"))) == shown


BAD = [*"\n\r\0\t\x0b\x0c\x1b\x7f\x85\xa0 \u2028\u2029\u200bé“", "\r\n", "\r\nX-Evil: 1\r\n"]


@pytest.mark.parametrize("character", BAD, ids=ascii)
def test_a_key_with_control_characters_or_line_breaks_is_refused_unseen(
    character: str, alice: User, openai: Provider
) -> None:
    value = f"{KEY[:20]}{character}{KEY[20:]}"
    with pytest.raises(InvalidKeyFormat) as refusal:
        add_key(alice, value)
    shown = f"{refusal.value} {refusal.value!r} {refusal.value.data}"
    assert not [part for part in (value, KEY[:20], KEY[20:]) if part in shown]
    assert refusal.value.data == {"field": "api_key"}
    assert refusal.value.__cause__ is None
    assert not Credential.objects.exists()


@pytest.mark.parametrize(
    "value", ["", "   ", "a" * 8193, "pk-not-a-key-of-openai-0123456789", "sk-ant-api03-" + "a" * 40]
)
def test_what_cannot_be_a_key_is_refused(value: str, alice: User) -> None:
    with pytest.raises(InvalidKeyFormat) as refusal:
        add_key(alice, value)
    assert not value.strip() or value not in str(refusal.value)


def test_missing_and_unknown_fields_are_refused(alice: User, openai: Provider) -> None:
    with pytest.raises(InvalidKeyFormat):
        keys.set_key(actor=alice, owner=owned_by(alice), provider=openai, fields={})
    with pytest.raises(InvalidRequest) as refusal:
        keys.set_key(actor=alice, owner=owned_by(alice), provider=openai, fields={"api_key": KEY, KEY: "x"})
    assert KEY not in str(refusal.value)


def test_labels_long_names_and_keyless_providers_are_refused(alice: User, openai: Provider) -> None:
    more: Any
    for more in ({"label": "second"}, {"display_name": "x" * 101}):
        with pytest.raises(InvalidRequest):
            keys.set_key(actor=alice, owner=owned_by(alice), provider=openai, fields={"api_key": KEY}, **more)
    with pytest.raises(InvalidRequest):
        keys.set_key(actor=alice, owner=owned_by(alice), provider=registry.get("sandbox"), fields={})


@pytest.mark.parametrize(("kind", "has_id"), [("user", False), ("team", False), ("system", True), ("house", True)])
def test_an_owner_is_named_whole(kind: Any, has_id: bool) -> None:
    with pytest.raises(ValueError, match="owner"):
        Owner(kind, uuid.UUID(int=1) if has_id else None)


def test_a_removed_key_is_gone_and_its_successor_is_another(alice: User) -> None:
    first = add_key(alice)
    old = first.pk
    keys.remove(actor=alice, credential=first)
    assert keys.credential_for(alice, "openai") is None
    with pytest.raises(KeyNotFound):
        keys.key_of(alice, "openai")
    assert add_key(alice).pk != old


def test_keys_are_found_for_their_owner_only(alice: User, bob: User, team: Team) -> None:
    mine, _, _ = add_key(alice), add_key(team), add_key(None)
    assert list(keys.keys_of(alice)) == [mine]
    assert keys.key_of(alice, "openai") == mine
    assert keys.credential_for(bob, "openai") is None
    assert [one.owner for one in keys.system_keys()] == ["system"]


def test_a_key_is_switched_off_and_on(alice: User) -> None:
    credential = add_key(alice)
    for active in (False, False, True):
        keys.set_active(actor=alice, credential=credential, active=active)
        assert credential.is_active is active
        assert Credential.objects.get(pk=credential.pk).is_active is active


def test_changes_are_logged_with_who_and_without_the_key(alice: User, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        credential = keys.set_key(
            actor=alice,
            owner=owned_by(alice),
            provider=registry.get("openai"),
            fields={"api_key": KEY},
        )
        keys.set_active(actor=None, credential=credential, active=False)
        keys.remove(actor=alice, credential=credential)
    assert caplog.text.count("Key ") == 3
    assert caplog.text.count(f"by user:{alice.pk}") == 2
    assert KEY not in caplog.text


def _encodings(secret: str) -> dict[str, bytes]:
    """The secret raw, reversed, in hex, and in base64 whatever stands before it."""
    raw = secret.encode()
    found = {"raw": raw, "reversed": raw[::-1], "hex": raw.hex().encode(), "HEX": raw.hex().upper().encode()}
    for shift in range(3):
        # Only the characters that depend on nothing but the secret itself.
        found[f"base64 {shift}"] = base64.b64encode(b"x" * shift + raw)[shift + 1 :].rstrip(b"=")[:-2]
    return found


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads the file of SQLite")
def test_a_stored_key_is_found_nowhere_in_the_database_file(alice: User, team: Team) -> None:
    for owner, key in itertools.product((alice, team, None), (KEY, OTHER_KEY)):
        add_key(owner, key)
    main = Path(connection.settings_dict["NAME"])
    files = [main, *main.parent.glob(f"{main.name}-*")]
    content = b"".join(file.read_bytes() for file in files)
    assert alice.email.encode() in content
    hits = [(key, name) for key in (KEY, OTHER_KEY) for name, form in _encodings(key).items() if form in content]
    assert hits == []


def in_parallel(works: list[Callable[[], Any]]) -> None:
    """Run each in a thread with a connection of its own; raise what one of them raised."""
    problems: list[BaseException] = []
    start = threading.Barrier(len(works))

    def run(work: Callable[[], Any]) -> None:
        try:
            start.wait()
            work()
        except BaseException as problem:
            problems.append(problem)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]


@pytest.mark.django_db(transaction=True)
def test_keys_set_at_once_do_not_mix(alice: User) -> None:
    values = [f"sk-proj-{number:030d}" for number in range(6)]
    in_parallel([lambda value=value: add_key(alice, value) for value in values])  # type: ignore[misc]
    credential = Credential.objects.get()
    assert credential.version == len(values)
    assert opened(credential) in values
    assert opened(credential).endswith(credential.hint)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("version", 2),
        ("provider", "anthropic"),
        ("destination", ["https://evil.example"]),
        ("destination", []),
        ("destination", {"https://api.openai.com": 1}),
        ("sealed", {}),
        ("sealed", []),
        ("sealed", {"api_key": 7}),
        ("sealed", {"api_key": "no base64"}),
        ("sealed", {"api_key": "ü"}),
        ("sealed", {"api_key": ""}),
    ],
)
def test_a_row_that_was_altered_is_unreadable(column: str, value: Any, alice: User) -> None:
    credential = add_key(alice)
    Credential.objects.filter(pk=credential.pk).update(**{column: value})
    with pytest.raises(CredentialUnreadable):
        opened(credential)


def test_sealed_secrets_swapped_between_rows_are_unreadable(alice: User, bob: User, team: Team) -> None:
    rows: list[Credential] = [add_key(one) for one in (alice, bob, team, None)]
    for one, other in itertools.permutations(rows, 2):
        Credential.objects.filter(pk=one.pk).update(sealed=other.sealed)
        with pytest.raises(CredentialUnreadable):
            opened(one)
        Credential.objects.filter(pk=one.pk).update(sealed=one.sealed)
        assert opened(one) == KEY


def test_a_row_given_to_somebody_else_is_unreadable(alice: User, charlie: User) -> None:
    credential = add_key(alice)
    salts: list[Model] = [credential.salt, add_key(charlie, slug="anthropic", key="sk-ant-api03-" + "c" * 40).salt]
    for salt in salts:
        Credential.objects.filter(pk=credential.pk).update(user=charlie, salt=salt)
        with pytest.raises(CredentialUnreadable):
            opened(credential)
