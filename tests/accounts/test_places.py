"""Whoever signs in from somewhere new is told, in case it was not them."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from digitalme.accounts import places
from digitalme.accounts.models import KnownPlace, User
from digitalme.notifications import inbox
from tests.conftest import PASSWORD
from tests.letters import sent

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:{}.0) Gecko/20100101 Firefox/{}.0"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile/15E148 Safari/604.1"


def sign_in(user: User, address: str = "203.0.113.7", agent: str = FIREFOX.format(128, 128)) -> Client:
    browser = Client(REMOTE_ADDR=address, headers={"User-Agent": agent})
    answer = browser.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    assert answer.status_code == 302
    return browser


def told(user: User) -> list[str]:
    return list(inbox.of(user.pk).filter(kind="sign_in.new").order_by("pk").values_list("text", flat=True))


def test_a_new_network_or_device_is_told_of_once_and_the_first_sign_in_is_not(alice: User) -> None:
    sign_in(alice)
    sign_in(alice)
    sign_in(alice, address="203.0.113.99", agent=FIREFOX.format(140, 140))  # the neighbour's address, a newer version
    assert told(alice) == []
    sign_in(alice, agent=PHONE)
    sign_in(alice, agent=PHONE)
    assert len(told(alice)) == 1
    assert "Safari on an iPhone from 203.0.113.7" in told(alice)[0]
    sign_in(alice, address="198.51.100.4")
    assert len(told(alice)) == 2
    assert "/settings/security/" in str(sent()[-1].body)


def test_others_who_sign_in_from_there_change_nothing(alice: User, bob: User) -> None:
    sign_in(alice)
    sign_in(bob, address="198.51.100.4", agent=PHONE)
    sign_in(alice, address="198.51.100.4")
    assert len(told(alice)) == 1


def test_what_a_browser_says_of_itself_is_repeated_nowhere(alice: User) -> None:
    sign_in(alice)
    sign_in(alice, agent="canary https://evil.example/ <b>")
    assert "another program" in told(alice)[0]
    assert "canary" not in str(sent()[-1].body) + str(list(KnownPlace.objects.values()))
    assert "203.0.113" not in str(list(KnownPlace.objects.values()))


def test_a_place_that_was_not_seen_for_long_is_new_again(alice: User) -> None:
    sign_in(alice)
    sign_in(alice, agent=PHONE)
    KnownPlace.objects.order_by("-pk")[:1].get()
    phone = places._digest(alice, "device", "Safari on an iPhone")
    KnownPlace.objects.filter(digest=phone).update(seen_at=timezone.now() - places.REMEMBERED - timedelta(days=1))
    sign_in(alice, agent=PHONE)
    assert len(told(alice)) == 2


def test_nobody_is_kept_out_because_it_cannot_be_noted(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_given: Any) -> bool:
        raise DatabaseError

    monkeypatch.setattr(places, "_noted", away)
    assert sign_in(alice).get("/settings/profile/").status_code == 200


@pytest.mark.once
@given(st.ip_addresses())
def test_neighbours_share_a_network(ip: Any) -> None:
    network = places.network_of(str(ip))
    assert network.endswith("/24" if ip.version == 4 else "/48")
    assert places.network_of(str(ip ^ 1) if isinstance(ip, int) else str(type(ip)(int(ip) ^ 1))) == network
