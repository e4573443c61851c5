"""set_key and generate_master_key, as an operator types them."""

import base64
import io
import re
import sys
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from apikeys import resolution
from apikeys.models import Credential
from digitalme.accounts.models import Team, User
from tests.apikeys.conftest import KEY, OTHER_KEY


def run(name: str, *arguments: str, stdin: str = "") -> str:
    """Run a command and return what it printed."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        call_command(name, *arguments, stdout=out)
    return out.getvalue()


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
