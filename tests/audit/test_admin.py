"""The trail in the admin: read, searched, never changed."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django.test import Client

from digitalme.accounts.models import User
from digitalme.accounts.roles import Role
from digitalme.audit import verification
from digitalme.audit.models import AuditEvent
from tests.accounts.conftest import staff  # noqa: F401 (a fixture)
from tests.apikeys.conftest import add_key

pytestmark = pytest.mark.django_db
PATH = "/admin/audit/auditevent/"
Staff = Callable[[Role], tuple[User, Client]]


def rows(client: Client, **query: str) -> str:
    answer = client.get(PATH, query)
    assert answer.status_code == 200
    text = answer.content.decode()
    return text.partition('id="result_list"')[2].partition("</table>")[0]


@pytest.mark.parametrize("role", [Role.SUPPORT, Role.ADMIN, Role.SUPER_ADMIN])
def test_staff_read_it_and_nobody_changes_it(staff: Staff, alice: User, role: Role) -> None:  # noqa: F811
    add_key(alice)
    event = AuditEvent.objects.latest("sequence")
    _, client = staff(role)
    assert "credential.set" in rows(client)
    page = client.get(f"{PATH}{event.pk}/change/").content.decode()
    assert event.hash in page
    assert 'name="_save"' not in page
    for path in (f"{PATH}add/", f"{PATH}{event.pk}/delete/"):
        assert client.get(path).status_code == 403
        assert client.post(path, {"post": "yes"}).status_code == 403
    client.post(PATH, {"action": "delete_selected", "_selected_action": [str(event.pk)], "post": "yes"})
    assert AuditEvent.objects.filter(pk=event.pk).exists()


def test_users_do_not_reach_it(alice_client: Client) -> None:
    assert alice_client.get(PATH).status_code in {302, 403}


def test_it_is_searched_by_address_of_mail_id_and_request(
    staff: Staff,  # noqa: F811
    alice: User,
    bob: User,
    alice_client: Client,
) -> None:
    credential = add_key(bob)
    alice_client.post(
        "/settings/security/tokens/",
        {"name": "x", "lifetime": "7", "scopes": ["gateway"]},
        headers={"X-Request-Id": "from-the-proxy-1"},
    )
    _, client = staff(Role.ADMIN)
    assert "token.issued" in rows(client, q=alice.email.upper())
    assert "token.issued" not in rows(client, q=bob.email)
    assert "credential.set" in rows(client, q=f"credential:{credential.pk}")
    assert "token.issued" in rows(client, q="from-the-proxy-1")
    assert "token.issued" not in rows(client, q="from-the-proxy-2")
    assert "token.issued" in rows(client, action="token.issued")
    assert "token.issued" not in rows(client, action="credential.set", kind="command")


def test_a_broken_trail_is_announced_above_the_list(staff: Staff) -> None:  # noqa: F811
    _, client = staff(Role.ADMIN)
    assert "Known since" not in client.get(PATH).content.decode()
    verification.note("Event 2 is missing.", now=datetime(2026, 11, 25, tzinfo=UTC))
    assert "Event 2 is missing. Known since" in client.get(PATH).content.decode()
