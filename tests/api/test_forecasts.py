"""/api/v1/usage/forecast/: what the caller's running periods come to."""

from datetime import timedelta
from uuid import uuid4

from django.test import Client
from django.utils import timezone

from digitalme.accounts.models import User
from digitalme.forecasts.models import Forecast

PATH = "/api/v1/usage/forecast/"


def test_it_tells_the_callers_own_month_limits_and_caps(alice: User, bob: User, alice_program: Client) -> None:
    assert alice_program.get(PATH).json() == []
    now, token = timezone.now(), uuid4()
    span = {"period_start": now - timedelta(days=10), "period_end": now + timedelta(days=20), "made_at": now}
    sums = {"used": 20, "expected": 38.5, "low": 30, "high": 45, "basis": "season"}
    at = now + timedelta(days=3)
    for user, owner, facts in (
        (alice, alice.pk, {"dimension": "cost"}),
        (alice, alice.pk, {"type": "monthly", "provider": "openai", "dimension": "requests", "limit": 35}),
        (alice, token, {"type": "monthly_budget", "dimension": "tokens", "limit": 50, "reaches_limit_at": at}),
        (alice, alice.pk, {"type": "daily", "dimension": "cost", "made_at": now - timedelta(days=5)}),
        (bob, bob.pk, {"dimension": "cost"}),
    ):
        Forecast.objects.create(user=user, owner_id=owner, **{**span, **sums, **facts})
    month, limit, cap = alice_program.get(PATH).json()
    assert (month["type"], month["provider"], month["token"], month["limit"]) == (None, None, None, None)
    assert (month["used"], month["expected"], month["low"], month["high"]) == (20.0, 38.5, 30.0, 45.0)
    assert (limit["type"], limit["provider"], limit["dimension"], limit["limit"]) == (
        "monthly",
        "openai",
        "requests",
        35.0,
    )
    assert (cap["token"], cap["basis"]) == (str(token), "season")
    assert cap["reaches_limit_at"].startswith(at.strftime("%Y-%m-%dT%H:%M"))
