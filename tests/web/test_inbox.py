"""/inbox/ and the bell, and the choice of what one is told."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from digitalme.accounts.models import User
from digitalme.notifications import preferences
from digitalme.notifications.kinds import ABOUT, Channel, Kind
from digitalme.notifications.models import Notification
from tests.web.conftest import queries_of

PAGE = "/inbox/"
HTMX = {"HX-Request": "true"}


def told(user: User, number: int = 0, **facts: Any) -> Notification:
    given: dict[str, Any] = {"kind": "quota.threshold", "title": f"Told {number}", "text": "x", "key": str(number)}
    at = timezone.now() - timedelta(minutes=number + 1)
    return Notification.objects.create(user=user, created_at=at, **{**given, **facts})


def test_an_empty_inbox_says_what_will_be_there(alice_client: Client) -> None:
    shown = alice_client.get(PAGE).content.decode()
    assert "Nothing to tell" in shown
    assert 'aria-label="Inbox"' in shown


def test_the_unread_come_first_and_the_bell_counts_them(alice: User, alice_client: Client) -> None:
    told(alice, 1, read_at=timezone.now())
    told(alice, 2, link="/settings/usage/")
    told(alice, 3, in_inbox=False)
    shown = alice_client.get(PAGE).content.decode()
    assert shown.index("Told 2") < shown.index("Told 1")
    assert "Told 3" not in shown
    assert "Inbox, 1 unread" in alice_client.get("/settings/profile/").content.decode()


def test_opening_one_marks_it_read_and_leads_to_where_it_can_be_mended(alice: User, alice_client: Client) -> None:
    one = told(alice, link="/settings/usage/")
    answer = alice_client.post(f"{PAGE}{one.pk}/open/")
    assert answer["Location"] == "/settings/usage/"
    one.refresh_from_db()
    assert one.read_at is not None


@pytest.mark.parametrize("link", ["", "//evil.example/", "https://evil.example/", "javascript:alert(1)"])
def test_a_link_leads_nowhere_else(alice: User, alice_client: Client, link: str) -> None:
    one = told(alice, link=link)
    assert alice_client.post(f"{PAGE}{one.pk}/open/")["Location"] == PAGE


def test_one_or_all_are_marked_as_read(alice: User, alice_client: Client) -> None:
    first, _ = told(alice, 1), told(alice, 2)
    fragment = alice_client.post(f"{PAGE}{first.pk}/read/", headers=HTMX).content.decode()
    assert 'aria-label="Inbox, 1 unread" hx-swap-oob="true"' in fragment
    assert "<html" not in fragment
    assert alice_client.post(f"{PAGE}read/")["Location"] == PAGE
    assert not Notification.objects.filter(read_at=None).exists()


def test_nobody_reads_or_marks_what_others_were_told(alice: User, bob_client: Client) -> None:
    one = told(alice)
    assert "Told 0" not in bob_client.get(PAGE).content.decode()
    assert bob_client.post(f"{PAGE}{one.pk}/read/").status_code == 404
    assert bob_client.post(f"{PAGE}{one.pk}/open/").status_code == 404
    bob_client.post(f"{PAGE}read/")
    one.refresh_from_db()
    assert one.read_at is None


def test_what_is_told_is_text_and_nothing_else(alice: User, alice_client: Client) -> None:
    told(alice, title="<script>x</script>", text="<img src=x>")
    shown = alice_client.get(PAGE).content.decode()
    assert "<script>x" not in shown
    assert "<img src=x>" not in shown


def test_it_is_read_in_pages_that_cost_the_same(alice: User, alice_client: Client) -> None:
    told(alice, 0)
    few = queries_of(alice_client, PAGE)
    for number in range(1, 45):
        told(alice, number)
    assert queries_of(alice_client, PAGE) == few <= 6
    last = alice_client.get(f"{PAGE}?page=3").content.decode()
    assert "Page 3 of 3" in last
    assert "Told 44" in last
    assert alice_client.get(f"{PAGE}?page=odd").status_code == 200


def test_one_chooses_by_which_ways_one_is_told(alice: User, alice_client: Client) -> None:
    page = "/settings/preferences/"
    assert "Mails go to alice@example.com" in alice_client.get(page).content.decode()
    wanted = ["quota.threshold:mail", "team.changed:inbox", "raise.asked:mail", "odd:mail", "quota.threshold:pigeon"]
    assert alice_client.post(f"{page}notifications/", {"wanted": wanted})["Location"] == page
    expected = {(Kind.QUOTA, Channel.MAIL), (Kind.TEAM, Channel.INBOX)}
    # What only staff is asked about stays as it is.
    staffs = {one for one in preferences.wanted_by(alice.pk) if ABOUT[one[0]].for_staff}
    assert (Kind.RAISE_ASKED, Channel.INBOX) in staffs
    assert preferences.wanted_by(alice.pk) == expected | staffs
    shown = alice_client.get(page).content.decode()
    assert 'value="quota.threshold:mail" aria-label="Limits: E-mail" checked' in shown
    assert "raise.asked" not in shown
