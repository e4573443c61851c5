"""The consent to a fallback: chosen on the page or by a program, bounded, audited."""

from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from digitalme.accounts.models import User
from digitalme.audit.models import AuditEvent
from quotas import fallback
from quotas.ledger import Amounts
from quotas.models import Limit
from tests.quotas.conftest import NOW, granted, hold

pytestmark = pytest.mark.django_db
PAGE = "/settings/preferences/fallback/"


def test_it_is_off_until_somebody_agrees(alice: User, alice_client: Client) -> None:
    told = alice_client.get("/api/v1/me/").json()
    assert (told["fallback"], told["fallback_cost"]) == ("stop", None)


def test_the_page_sets_it_and_the_trail_keeps_it(alice: User, alice_client: Client) -> None:
    alice_client.post(PAGE, {"fallback": "demo", "fallback_cost": "2.50"})
    told = alice_client.get("/api/v1/me/").json()
    assert (told["fallback"], told["fallback_cost"]) == ("demo", "2.500000000")
    assert AuditEvent.objects.get(action="user.fallback_changed").facts == {"method": "demo", "cost": "2.5"}
    assert 'value="2.500000000"' in alice_client.get("/settings/preferences/").content.decode()
    alice_client.post(PAGE, {"fallback": "stop"})
    assert not Limit.objects.filter(user=alice).exists()
    assert User.objects.get(pk=alice.pk).fallback == "stop"


def test_programs_set_it_too(alice: User, alice_client: Client) -> None:
    body: dict[str, Any] = {"fallback": "demo", "fallback_cost": "7", "name": "Al"}
    assert alice_client.patch("/api/v1/me/", body, content_type="application/json").json()["fallback"] == "demo"
    assert fallback.amount_of(alice) == Decimal(7)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fallback": "demo"},
        {"fallback": "demo", "fallback_cost": "0"},
        {"fallback": "demo", "fallback_cost": "1000001"},
        {"fallback": "demo", "fallback_cost": "-1"},
        {"fallback": "always"},
    ],
)
def test_a_consent_without_a_bound_is_none(alice: User, alice_client: Client, wrong: dict[str, str]) -> None:
    assert alice_client.post(PAGE, wrong).status_code == 422
    body = {**wrong, "name": "Changed"}
    assert alice_client.patch("/api/v1/me/", body, content_type="application/json").status_code == 400
    fresh = User.objects.get(pk=alice.pk)
    assert (fresh.fallback, fresh.name) == ("stop", "Alice Archer")
    assert not Limit.objects.filter(user=alice).exists()


def test_only_fallbacks_count_on_it_and_they_count_on_the_demo_limits_too(dana: User) -> None:
    fallback.consent(actor=dana, choice="demo", cost=Decimal("0.01"), now=NOW)
    assert granted([hold(dana), hold(dana, key_source="user")]) == [True, True]
    dear = Amounts(1, 100, 4_000_000)
    assert granted([hold(dana, key_source="fallback", estimate=dear) for _ in range(3)]) == [True, True, False]
    assert granted([hold(dana) for _ in range(60)]).count(True) == 47
