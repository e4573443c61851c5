"""A session is worth what its person is worth at this moment (T40), and a token never more (T39)."""

import pytest
from django.db import connection
from django.test import Client

from digitalme.accounts import roles, tokens
from digitalme.accounts.models import AccessToken, User
from digitalme.accounts.roles import Role
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db
LOGIN = "/accounts/login/"


def enter(client: Client, user: User) -> str:
    """Sign in at the page and return the session's key."""
    client.post(LOGIN, {"login": user.email, "password": PASSWORD})
    return str(client.session.session_key)


def test_a_session_gets_another_key_when_somebody_signs_in(alice: User) -> None:
    client = Client()
    client.get(LOGIN)
    session = client.session
    session["planted"] = "by somebody else"
    session.save()
    before = session.session_key
    assert enter(client, alice) != before
    stranger = Client()
    stranger.cookies["sessionid"] = before or ""
    assert stranger.get("/settings/api/").status_code == 302


def test_a_new_password_ends_every_session(alice: User) -> None:
    one, other = Client(), Client()
    enter(one, alice)
    enter(other, alice)
    assert other.get("/settings/api/").status_code == 200
    new = "another correct horse 77"
    one.post("/accounts/password/change/", {"oldpassword": PASSWORD, "password1": new, "password2": new})
    assert other.get("/settings/api/").status_code == 302


def test_somebody_disabled_loses_pages_api_and_admin_at_the_next_request(alice: User) -> None:
    roles.assign(alice, Role.SUPER_ADMIN)
    client = Client()
    enter(client, alice)
    assert client.get("/settings/api/").status_code == 200
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert client.get("/settings/api/").status_code == 302
    assert client.get("/api/v1/me/").status_code in (401, 403)
    assert client.get("/admin/apikeys/credential/").status_code in (302, 403)


def test_a_role_that_is_taken_away_closes_the_admin_at_the_next_request(alice: User) -> None:
    roles.assign(alice, Role.ADMIN)
    client = Client()
    client.force_login(alice)
    opened = client.get("/admin/apikeys/credential/").status_code
    roles.assign(alice, Role.USER)
    assert opened == 200
    assert client.get("/admin/apikeys/credential/").status_code in (302, 403, 404)


def test_the_database_has_no_token_and_a_scanner_finds_one(alice: User) -> None:
    row, token = tokens.issue(user=alice, name="laptop")
    assert tokens.looks_valid(token)
    assert not tokens.looks_valid(token[:-1] + ("a" if token[-1] != "a" else "b")), "the checksum tells"
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM accounts_accesstoken")
        kept = repr(cursor.fetchall())
    assert token not in kept
    assert token[3:20] not in kept
    assert row.digest in kept


@pytest.mark.parametrize("role", Role)
def test_a_token_opens_neither_pages_nor_admin_whatever_its_owners_role(alice: User, role: Role) -> None:
    roles.assign(alice, role)
    _, token = tokens.issue(user=alice, name="program")
    client = Client(headers={"Authorization": f"Bearer {token}"})
    assert client.get("/api/v1/me/").status_code == 200
    for page in ("/settings/api/", "/admin/", "/admin/apikeys/credential/"):
        assert client.get(page).status_code in (302, 403, 404)


def test_a_token_that_is_revoked_expired_or_of_somebody_disabled_opens_nothing(alice: User) -> None:
    for deed in (
        lambda row: tokens.revoke(row),
        lambda row: AccessToken.objects.filter(pk=row.pk).update(expires_at=row.created_at),
        lambda row: User.objects.filter(pk=alice.pk).update(is_active=False),
    ):
        row, token = tokens.issue(user=alice, name="program")
        client = Client(headers={"Authorization": f"Bearer {token}"})
        assert client.get("/api/v1/me/").status_code == 200
        deed(row)
        assert client.get("/api/v1/me/").status_code == 401
