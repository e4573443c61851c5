"""set_key and generate_master_key, as an operator types them."""

import base64
import io
import json
import re
import sys
from datetime import UTC, date, datetime
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from apikeys import resolution
from apikeys.models import Credential
from digitalme.accounts.models import Team, User
from providers.registry import Provider
from tests.apikeys.conftest import KEY, OTHER_KEY
from tests.commands import run


def stored() -> tuple[str, str]:
    """The owner and the key of the one credential there is."""
    credential = Credential.objects.get()
    return credential.owner, resolution.unseal(resolution.resolved(credential))["api_key"].reveal()


def test_a_key_of_the_house_is_set_from_standard_input(db: None) -> None:
    printed = run("set_key", "openai", "--system", stdin=f"{KEY}\n")
    assert stored() == ("system", KEY)
    assert KEY not in printed


def test_a_key_of_a_user_is_set_by_address_in_any_case(alice: User) -> None:
    run("set_key", "openai", "--user", "Alice@Example.com", stdin=KEY)
    assert stored() == (f"user:{alice.pk}", KEY)


def test_a_key_of_a_team_is_set_by_slug(team: Team) -> None:
    run("set_key", "openai", "--team", "alices", "--field", "api_key", stdin=KEY)
    assert stored() == (f"team:{team.pk}", KEY)


BOTH = {"password": "hunter2hunter2", "account": "alice"}


def fields() -> dict[str, str]:
    """The fields of the one credential there is."""
    opened = resolution.unseal(resolution.resolved(Credential.objects.get()))
    return {name: secret.reveal() for name, secret in opened.items()}


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["--field", "password", "--field", "account"], "hunter2hunter2\nalice\n"),
        (["--field", "account", "--field", "password"], "alice\nhunter2hunter2"),
        (["--json"], json.dumps(BOTH)),
    ],
)
def test_several_fields_come_a_line_each_or_as_one_object(
    arguments: list[str], stdin: str, alice: User, notes: Provider
) -> None:
    printed = run("set_key", "notes", "--user", alice.email, "--label", "home", *arguments, stdin=stdin)
    assert fields() == BOTH
    assert "'home'" in printed
    assert "hunter2" not in printed
    assert Credential.objects.get().label == "home"


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["--field", "password", "--field", "account"], "hunter2hunter2\n", "1 lines, but there are 2 fields"),
        (["--json"], "hunter2hunter2", "JSON object"),
        (["--json"], '["hunter2hunter2"]', "JSON object"),
        (["--json"], '{"password": 5}', "JSON object"),
        (["--json"], '{"password": "hunter2hunter2"}', "empty"),
        (["--json", "--label", "V1"], json.dumps(BOTH), "small letters"),
        (["--json", "--label", "v1"], json.dumps(BOTH), "another label"),
        (["--json", "--label", "test"], json.dumps(BOTH), "another label"),
        (["--json", "--expires", "2020-01-01"], json.dumps(BOTH), "over already"),
        (["--json", "--rotate-by", "2020-01-01"], json.dumps(BOTH), "over already"),
        (["--json", "--expires", "soon"], json.dumps(BOTH), "invalid"),
    ],
)
def test_a_mistake_with_several_fields_is_one_clear_line(
    arguments: list[str], stdin: str, said: str, alice: User, notes: Provider
) -> None:
    with pytest.raises(CommandError) as refusal:
        run("set_key", "notes", "--user", alice.email, *arguments, stdin=stdin)
    assert said in str(refusal.value)
    assert "hunter2" not in str(refusal.value)
    assert not Credential.objects.exists()


def test_the_ends_of_a_keys_life_are_days(alice: User) -> None:
    printed = run("set_key", "openai", "--user", alice.email, "--expires", "2100-01-31", stdin=KEY)
    assert "same" not in printed
    credential = Credential.objects.get()
    assert credential.expires_at == datetime(2100, 2, 1, tzinfo=UTC)
    assert credential.rotate_by is None
    printed = run("set_key", "openai", "--user", alice.email, "--rotate-by", "2100-01-31", stdin=KEY)
    assert "the same one as before" in printed
    credential = Credential.objects.get()
    assert (credential.expires_at, credential.rotate_by) == (None, date(2100, 1, 31))


def test_setting_again_replaces(alice: User) -> None:
    for key in (KEY, OTHER_KEY, OTHER_KEY):
        run("set_key", "openai", "--user", alice.email, stdin=key)
    assert stored() == (f"user:{alice.pk}", OTHER_KEY)


def test_on_a_terminal_the_key_is_asked_for_unseen(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda prompt: KEY)
    call_command("set_key", "openai", "--system", stdout=io.StringIO())
    assert stored() == ("system", KEY)


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["openai", "--user", "nobody@example.com"], KEY, "nobody@example.com"),
        (["openai", "--team", "nobodys"], KEY, "nobodys"),
        (["nothing", "--system"], KEY, "nothing"),
        (["sandbox", "--system"], KEY, "needs no key"),
        (["openai", "--system", "--field", "password"], KEY, "api_key"),
        (["openai", "--system"], "", "empty"),
        (["openai", "--system"], f"{KEY}\n{OTHER_KEY}\n", "line break"),
        (["openai", "--system"], "hello", "API key"),
        (["openai"], KEY, "--system"),
        (["openai", "--system", "--team", "alices"], KEY, "not allowed"),
    ],
)
def test_a_mistake_is_one_clear_line_without_the_key(arguments: list[str], stdin: str, said: str, team: Team) -> None:
    with pytest.raises(CommandError) as refusal:
        run("set_key", *arguments, stdin=stdin)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert KEY not in str(refusal.value)
    assert refusal.value.returncode == 1
    assert not Credential.objects.exists()


def test_without_a_usable_master_nothing_is_set(db: None, settings: Any) -> None:
    settings.DIGITALME_MASTER_KEYS = "k1:c2hvcnQ="
    with pytest.raises(CommandError, match="'k1'"):
        run("set_key", "openai", "--system", stdin=KEY)


@pytest.mark.parametrize(("present", "key_id"), [("", "k1"), ("k1:x,k3:y", "k2"), ("old:x\nk1:y", "k2")])
def test_a_new_master_has_a_free_id(present: str, key_id: str, settings: Any) -> None:
    settings.DIGITALME_MASTER_KEYS = present
    made = run("generate_master_key")
    assert re.fullmatch(rf"{key_id}:[A-Za-z0-9+/]{{43}}=\n", made)
    assert run("generate_master_key") != made


def test_a_new_key_has_the_id_that_was_asked_for_or_none() -> None:
    assert run("generate_master_key", "--id", "2026-11").startswith("2026-11:")
    assert len(base64.b64decode(run("generate_master_key", "--bare").strip(), validate=True)) == 32
    with pytest.raises(CommandError):
        run("generate_master_key", "--id", "a:b")
