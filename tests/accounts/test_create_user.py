"""`manage.py create_user`: an account from the command line, the same after each run."""

import io

import pytest
from allauth.account.models import EmailAddress
from django.core.management import CommandError, call_command
from django.test import Client

from digitalme.accounts import roles
from digitalme.accounts.models import User
from digitalme.accounts.roles import Role
from quotas.models import Tier

pytestmark = pytest.mark.django_db
PASSWORD = "a quite long phrase"


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("create_user", *arguments, stdout=out)
    return out.getvalue().strip()


def type_in(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_it_works() -> None:
    assert run("New@Example.com") == "Created new@example.com: user, tier default."
    user = User.objects.get(email="new@example.com")
    assert roles.role_of(user) is Role.USER
    assert not user.has_usable_password()


def test_the_address_counts_as_verified() -> None:
    run("new@example.com")
    run("new@example.com")
    address = EmailAddress.objects.get(user__email="new@example.com")
    assert (address.email, address.verified, address.primary) == ("new@example.com", True, True)


@pytest.mark.parametrize("role", Role)
def test_it_gives_the_role(role: Role) -> None:
    assert run("new@example.com", "--role", role).startswith(f"Created new@example.com: {role},")
    assert roles.role_of(User.objects.get(email="new@example.com")) is role


def test_it_sets_the_tier() -> None:
    tier = Tier.objects.create(slug="team-of-ten", name="Team of ten")
    assert run("new@example.com", "--tier", "team-of-ten").endswith("tier Team of ten.")
    assert User.objects.get(email="new@example.com").tier == tier


def test_a_second_run_updates_what_is_given_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    Tier.objects.create(slug="gold", name="Gold")
    type_in(monkeypatch, PASSWORD + "\n")
    run("new@example.com", "--role", "support", "--password-stdin")
    assert run("NEW@example.com", "--tier", "gold") == "Updated new@example.com: support, tier Gold."
    assert run("new@example.com", "--role", "admin") == "Updated new@example.com: admin, tier Gold."
    user = User.objects.get()
    assert user.check_password(PASSWORD)
    assert roles.role_of(user) is Role.ADMIN


def test_the_password_comes_from_standard_input_and_opens_the_door(
    monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    type_in(monkeypatch, PASSWORD + "\n")
    output = run("new@example.com", "--password-stdin")
    client.post("/accounts/login/", {"login": "new@example.com", "password": PASSWORD})
    assert PASSWORD not in output
    assert "_auth_user_id" in client.session


@pytest.mark.parametrize("password", ["", "x7!", "password123"])
def test_a_weak_password_makes_no_account(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    type_in(monkeypatch, password + "\n")
    with pytest.raises(CommandError) as refusal:
        run("new@example.com", "--password-stdin")
    assert not password or password not in str(refusal.value)
    assert not User.objects.exists()


@pytest.mark.parametrize("email", ["", "alice", "alice@", "a b@example.com", "alice@example.com\nbcc: x"])
def test_an_odd_address_is_refused(email: str) -> None:
    with pytest.raises(CommandError, match="not an e-mail address"):
        run(email)
    assert not User.objects.exists()


def test_an_unknown_tier_is_refused_and_the_known_ones_are_named() -> None:
    Tier.objects.create(slug="gold", name="Gold")
    with pytest.raises(CommandError, match="gold"):
        run("new@example.com", "--tier", "golden")
    assert not User.objects.exists()


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(CommandError, match="invalid choice"):
        run("new@example.com", "--role", "owner")
