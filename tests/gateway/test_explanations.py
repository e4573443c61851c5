"""A refusal says which limit, whose, how it stands, when it starts anew and what to do: in words and for programs."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import openai
import pytest
import requests

from digitalme.database import uuid7
from digitalme.errors import QuotaExceeded, RateLimited
from digitalme.gateway import explanations
from quotas.ledger import Refused, Standing
from quotas.models import EmergencyUse
from tests.gateway.conftest import Person, WebProcess, command, until
from tests.gateway.test_sdks import MESSAGES, openai_client

pytestmark = pytest.mark.django_db(transaction=True)
RESETS = datetime(2026, 3, 11, tzinfo=UTC)
NOW = datetime(2026, 3, 10, 23, 59, 30, 500_000, tzinfo=UTC)


def refused(scope: str = "user", **more: Any) -> Refused:
    limit = Standing("daily", "openai", "requests", 50, 50, RESETS)
    facts = {"standing": limit, "held": 3, "passing": False, "own_key": False, **more}
    return Refused(request_id=uuid7(), scope=scope, **facts)


def test_a_limit_that_is_used_up_is_explained() -> None:
    told = explanations.of(refused(), NOW)
    assert isinstance(told, QuotaExceeded)
    assert not told.retryable
    assert told.message.startswith(
        "Your daily limit on requests for OpenAI is used up: 50 of 50 (3 held by running calls). "
        "It starts anew at 2026-03-11 00:00 UTC. Wait until then, add your own key at "
    )
    facts = {name: told.data[name] for name in ("reason", "scope", "limit_type", "provider", "dimension", "remedy")}
    assert list(facts.values()) == ["used_up", "user", "daily", "openai", "requests", "add_own_key"]
    assert (told.data["allowed"], told.data["used"], told.data["held"], told.data["remaining"]) == (50, 50, 3, 0)
    assert (told.data["resets_at"], told.data["retry_after"]) == (RESETS.isoformat(), 30)
    assert told.data["link"].endswith("/settings/api/")


@pytest.mark.parametrize(
    ("scope", "whose", "own_key", "kind", "link"),
    [
        ("token", "This access token's daily limit", False, "daily", "/settings/usage/budgets/"),
        ("house", "This server's monthly limit", False, "monthly", "/settings/api/"),
        ("team", "Your team's daily budget", True, "daily_budget", "/settings/team/"),
        ("user", "Your fair use limit", True, "fair_use", "/settings/usage/limits/#more"),
    ],
)
def test_whose_limit_it_is_decides_what_helps(scope: str, whose: str, own_key: bool, kind: str, link: str) -> None:
    limit = Standing(kind, "", "cost", 2_500_000_000, 2_499_000_000, RESETS)
    told = explanations.of(refused(scope, standing=limit, own_key=own_key), NOW)
    assert told.message.startswith(f"{whose} on spending for all providers is used up: $2.499 of $2.5 (")
    assert told.data["remaining"] == "0.001000000"
    assert told.data["link"].endswith(link)
    assert told.data["link"] in told.message


def test_what_is_only_held_is_never_told_as_used_up() -> None:
    told = explanations.of(refused(passing=True), NOW)
    assert isinstance(told, RateLimited)
    assert told.retryable
    assert "used up" not in told.message
    assert (told.data["reason"], told.data["retry_after"], told.data["remedy"]) == ("held", 5, "wait")


def test_a_call_that_is_slowed_is_told_the_exact_time() -> None:
    told = explanations.of(refused(wait=10.2), NOW)
    assert isinstance(told, RateLimited)
    assert (told.data["reason"], told.data["retry_after"]) == ("slowed", 11)
    assert "Try again in 11 s" in told.message


def test_headers_and_body_say_the_same_and_a_critical_call_goes_on(
    web: WebProcess, person: Callable[[], Person]
) -> None:
    dana = person()
    command("set_allocation", dana.user.email, "--provider", "openai", "--type", "demo", "--requests", "10")
    command("set_allocation", dana.user.email, "--provider", "all", "--type", "monthly", "--tokens", "9000000")
    body = {"model": "gpt-4o-mini", "messages": MESSAGES, "max_tokens": 5}

    def call(**headers: str) -> requests.Response:
        where = web.gateway("openai", "/v1/chat/completions")
        return requests.post(where, json=body, headers=dana.headers | headers, timeout=20)

    assert [call().status_code for _ in range(10)] == [200] * 10
    until(lambda: len(dana.records()) == 10)
    answer = call()
    assert answer.status_code == 429
    told = answer.json()["error"]["digitalme"]
    assert answer.headers["x-digitalme-quota-name"] == "user demo requests"
    assert (answer.headers["x-digitalme-quota-limit"], answer.headers["x-digitalme-quota-remaining"]) == ("10", "0")
    assert answer.headers["x-digitalme-quota-reset"] == told["resets_at"].replace("+00:00", "Z")
    assert answer.headers["retry-after"] == str(told["retry_after"])
    assert answer.headers["x-should-retry"] == "false"
    with pytest.raises(openai.RateLimitError, match="is used up: 10 of 10"):
        openai_client(web, dana).chat.completions.create(**body)
    urgent = call(**{"X-DigitalMe-Priority": "critical"})
    assert (urgent.status_code, urgent.headers["x-digitalme-emergency"]) == (200, "used")
    until(lambda: EmergencyUse.objects.filter(user=dana.user, audited=True).count() == 1)


def test_an_own_budget_refuses_calls_on_the_own_key(web: WebProcess, person: Callable[[], Person]) -> None:
    dana = person()
    command("set_allocation", dana.user.email, "--provider", "openai", "--type", "daily_budget", "--requests", "0")
    command("set_key", "openai", "--user", dana.user.email, stdin="sk-proj-" + "a1B2" * 10)
    answer = requests.post(
        web.gateway("openai", "/v1/chat/completions"),
        json={"model": "gpt-4o-mini", "messages": MESSAGES},
        headers=dana.headers,
        timeout=20,
    )
    assert answer.status_code == 429
    assert answer.json()["error"]["digitalme"]["remedy"] == "raise_budget"
