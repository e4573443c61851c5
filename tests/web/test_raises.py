"""Asking for more on /settings/usage/limits/ and at /api/v1/quotas/raises/, and reading the answer."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from digitalme.accounts.models import User
from quotas import raises
from quotas.models import Raise
from quotas.raises import Amounts

pytestmark = pytest.mark.django_db
PAGE = "/settings/usage/limits/"
ASK = "/settings/usage/raises/"
API = "/api/v1/quotas/raises/"


def form(**more: Any) -> dict[str, Any]:
    until = timezone.localdate() + timedelta(days=3)
    return {"limit": "daily||requests", "amount": "500", "until": until.isoformat(), "why": "A workshop", **more}


def test_a_person_asks_and_reads_the_answer(alice_client: Client, alice: User) -> None:
    page = alice_client.post(ASK, form(), follow=True).content.decode()
    assert "Your request is on its way" in page
    assert "500 requests more, daily limit" in page
    asked = Raise.objects.get()
    raises.grant(
        actor=None,
        asked=asked,
        amounts=Amounts(requests=200),
        until=timezone.localdate(),
        answer="For today",
        now=timezone.now(),
    )
    page = alice_client.get(PAGE).content.decode()
    assert "200 requests more, daily limit" in page
    assert "you asked for 500 requests" in page
    assert "For today" in page
    assert "0 of 1,200" in page


@pytest.mark.parametrize(
    "wrong",
    [{"limit": "weekly||requests"}, {"amount": "0"}, {"amount": "1.5"}, {"until": "2020-01-01"}, {"why": ""}],
)
def test_what_is_wrong_stands_on_the_form(alice_client: Client, wrong: dict[str, str]) -> None:
    answer = alice_client.post(ASK, form(**wrong))
    assert answer.status_code == 422
    assert 'class="errorlist' in answer.content.decode()
    assert not Raise.objects.exists()


def test_only_whoever_asked_withdraws(alice_client: Client, charlie_client: Client, alice: User) -> None:
    alice_client.post(ASK, form())
    path = f"{ASK}{Raise.objects.get().pk}/withdraw/"
    assert charlie_client.post(path).status_code == 404
    assert "A workshop" not in charlie_client.get(PAGE).content.decode()
    assert alice_client.post(path, follow=True).status_code == 200
    assert Raise.objects.get().state == "withdrawn"


def test_programs_ask_too(alice_client: Client) -> None:
    until = (timezone.localdate() + timedelta(days=3)).isoformat()
    body = {"type": "monthly", "cost": "2.5", "until": until, "why": "x", "state": "granted", "extra_cost": "9"}
    made = alice_client.post(API, body, content_type="application/json")
    assert made.status_code == 201
    told = alice_client.get(API).json()[0]
    assert told["asked"]["cost"] == "2.500000000"
    assert (told["state"], told["granted"], told["provider"]) == ("asked", None, None)
    assert alice_client.post(API, {**body, "cost": "-1"}, content_type="application/json").status_code == 400
    assert alice_client.delete(f"{API}{told['id']}/").status_code == 204
    assert alice_client.delete(f"{API}{told['id']}/").status_code == 404
