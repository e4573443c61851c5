"""Open pages follow: nothing is sent while nothing changed, and everything that changed the next time they ask."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from digitalme.accounts.models import User
from digitalme.statements import ask
from quotas.models import Allocation
from tests.web.conftest import add_call, queries_of
from usage import pulse

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}
PAGES = {
    "/settings/usage/": "/settings/usage/live/",
    "/settings/usage/limits/": "/settings/usage/limits/live/",
    "/": "/start/live/",
}


def asked_by(text: str) -> str:
    """The address that a page asks for what changed."""
    (address,) = re.findall(r'hx-get="([^"]*/live/[^"]*)"', text)
    return str(address)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_that_asks_gets_nothing_until_a_call_was_made(
    alice_client: Client, alice: User, bob: User, path: str, django_assert_max_num_queries: Any
) -> None:
    add_call(alice)
    address = asked_by(alice_client.get(path).content.decode())
    assert address.startswith(f"{PAGES[path]}?seen=")
    add_call(bob)
    with django_assert_max_num_queries(3):  # the session, its person, and whether their calls or limits changed
        idle = alice_client.get(address, headers=HTMX)
    assert (idle.status_code, idle.content) == (204, b"")
    add_call(alice, model="brand-new")
    with django_assert_max_num_queries(9):
        changed = alice_client.get(address, headers=HTMX)
    text = changed.content.decode()
    assert changed.status_code == 200
    assert "<html" not in text
    if path == "/":
        assert "Today: 2 calls" in text
    elif "limits" in path:
        assert "Demo OpenAI requests today" in text
    else:
        assert "<dt>Calls today</dt><dd>2</dd>" in text
        assert 'id="latest" hx-swap-oob="true"' in text
        assert "brand-new" in text
        # The part of the page that tells of limits listens to this.
        assert changed.headers["HX-Trigger"] == '{"numbers-changed": {}}'
    assert alice_client.get(asked_by(text), headers=HTMX).status_code == 204


def test_a_limit_that_is_used_or_set_is_a_change(alice_client: Client, alice: User) -> None:
    now = timezone.now()
    row = Allocation.objects.create(
        user=alice,
        owner_id=alice.pk,
        type="daily",
        allowed_requests=100,
        period_start=now - timedelta(hours=1),
        period_end=now + timedelta(hours=1),
    )
    for change in ({"used_requests": 50}, {"allowed_requests": 200}, {"is_active": False}):
        address = asked_by(alice_client.get("/settings/usage/").content.decode())
        Allocation.objects.filter(pk=row.pk).update(**change)
        assert alice_client.get(address, headers=HTMX).status_code == 200


def test_a_call_that_began_long_before_it_is_recorded_is_a_change_however_many_there_are(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "NEWEST", 3)
    now = timezone.now()
    for seconds in range(5):
        add_call(alice, at=now - timedelta(seconds=seconds))
    before = ask(pulse.pulse(alice.pk, now))
    add_call(alice, at=now - timedelta(seconds=1, milliseconds=500))
    after = ask(pulse.pulse(alice.pk, now))
    assert before != after == ask(pulse.pulse(alice.pk, now))


def test_without_scripts_the_address_leads_to_the_page(alice_client: Client) -> None:
    for path, address in PAGES.items():
        assert alice_client.get(address).headers["Location"] == path


def test_strangers_get_nothing(client: Client) -> None:
    for address in PAGES.values():
        assert client.get(address).status_code == 302
        assert "HX-Redirect" in client.get(address, headers=HTMX).headers


def test_what_is_asked_does_not_grow_with_calls(alice_client: Client, alice: User) -> None:
    add_call(alice)
    few = queries_of(alice_client, "/api/v1/quotas/")
    for _ in range(10):
        add_call(alice)
    assert queries_of(alice_client, "/api/v1/quotas/") == few < 10
