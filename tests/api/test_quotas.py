"""/api/v1/quotas/: how the caller's limits stand."""

from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from digitalme.accounts.models import User
from quotas.models import Limit

URL = "/api/v1/quotas/"


@pytest.fixture
def limit(alice: User) -> Limit:
    """A daily limit of alice's own, on one provider."""
    return Limit.objects.create(user=alice, provider="openai", type="daily", requests=50, cost=Decimal("1.5"))


def of(client: Client, provider: str | None, kind: str) -> dict[str, Any]:
    return next(one for one in client.get(URL).json() if (one["provider"], one["type"]) == (provider, kind))


def test_a_limit_stands_before_its_first_call(limit: Limit, alice_program: Client) -> None:
    told = of(alice_program, "openai", "daily")
    assert told["requests"] == {"allowed": 50, "used": 0, "held": 0, "rollover": 0, "given": 0, "received": 0}
    nothing = "0.000000000"
    assert told["cost"] == {
        "allowed": "1.500000000",
        **dict.fromkeys(("used", "held", "rollover", "given", "received"), nothing),
    }
    assert (told["soft"], told["slowed_from"], told["emergency_uses_left"]) == (False, 80, 3)
    assert told["tokens"]["allowed"] is None
    assert told["resets_at"].endswith("Z")
    assert told["binds"] == "system"


def test_the_tiers_limits_bind_everybody(alice_program: Client) -> None:
    assert {one["type"] for one in alice_program.get(URL).json()} == {"demo", "daily", "monthly", "fair_use"}
    assert of(alice_program, None, "daily")["requests"]["allowed"] == 1000


def test_somebody_elses_limit_is_not_shown(limit: Limit, charlie_program: Client) -> None:
    assert not [
        one for one in charlie_program.get(URL).json() if one["provider"] == "openai" and one["type"] == "daily"
    ]


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_nobody_changes_a_quota_here(alice_program: Client, method: str) -> None:
    assert getattr(alice_program, method)(URL, {}, content_type="application/json").status_code == 405
