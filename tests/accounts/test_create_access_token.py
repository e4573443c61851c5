"""create_access_token, as an operator types it."""

import io

import pytest
from django.core.management import CommandError, call_command

from digitalme.accounts import tokens
from digitalme.accounts.models import AccessToken, User


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("create_access_token", *arguments, stdout=out)
    return out.getvalue()


def test_it_prints_the_token_and_nothing_else(alice: User) -> None:
    printed = run("Alice@example.com")
    token = printed.removesuffix("\n")
    assert tokens.looks_valid(token)
    row = AccessToken.objects.get(digest=tokens.digest(token))
    assert (row.user, row.name, row.scopes) == (alice, "command line", list(tokens.SCOPES))
    assert row.expires_at


def test_name_scopes_and_lifetime_can_be_chosen(alice: User) -> None:
    run(alice.email, "--name", "nightly", "--scopes", "gateway", "--no-expiry")
    row = AccessToken.objects.get()
    assert (row.name, row.scopes, row.expires_at) == ("nightly", ["gateway"], None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody@example.com"], "nobody@example.com"),
        (["alice@example.com", "--scopes", "admin"], "gateway"),
        (["alice@example.com", "--days", "0"], "3650"),
        (["alice@example.com", "--name", ""], "name"),
    ],
)
def test_a_mistake_is_one_clear_line(arguments: list[str], said: str, alice: User) -> None:
    with pytest.raises(CommandError, match=said) as refusal:
        run(*arguments)
    assert "\n" not in str(refusal.value)
    assert refusal.value.returncode == 1
    assert not AccessToken.objects.exists()


def test_a_disabled_account_gets_none(alice: User) -> None:
    User.objects.update(is_active=False)
    with pytest.raises(CommandError, match="disabled"):
        run(alice.email)
