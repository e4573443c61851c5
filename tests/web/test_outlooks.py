"""What forecasts say: under each limit on its page, and of the month on the usage page."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from digitalme.accounts.models import User
from digitalme.forecasts.models import Forecast
from digitalme.web import outlooks
from quotas.models import Allocation
from tests.web.conftest import add_call

# A Saturday noon in UTC.
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def foreseen(**facts: Any) -> Forecast:
    given = {"type": "monthly", "dimension": "requests", "limit": 50.0, "used": 20, "expected": 38.4, "low": 30}
    return Forecast(**{**given, "high": 45, "basis": "season", **facts})


@pytest.mark.once
@pytest.mark.parametrize(
    ("ahead", "zone", "said"),
    [
        (timedelta(hours=3), "UTC", "today at about 15:00"),
        (timedelta(hours=3), "Asia/Tokyo", "on Sunday"),
        (5 * DAY, "UTC", "on Thursday"),
        (6 * DAY, "UTC", "on Friday"),
        (7 * DAY, "UTC", "on 28 November"),
        (5 * DAY, "Pacific/Kiritimati", "on Friday"),
    ],
)
def test_a_moment_is_told_as_one_says_it_where_one_lives(ahead: timedelta, zone: str, said: str) -> None:
    assert outlooks.when(NOW + ahead, zone, NOW) == said


@pytest.mark.once
@pytest.mark.parametrize(
    ("facts", "allowed", "said"),
    [
        ({"reaches_limit_at": NOW + 5 * DAY}, "50", "At this pace you reach the limit on Thursday."),
        ({}, "50", "At this pace it comes to about 38 of 50 by the end of the month."),
        ({"type": "demo"}, "50", "At this pace it comes to about 38 of 50 by the end of the day."),
        (
            {"dimension": "cost", "limit": 5.0, "expected": 3.456},
            "$5.00",
            "At this pace it comes to about $3.46 of $5.00 by the end of the month.",
        ),
        ({}, "60", ""),  # it was raised since
        ({"reaches_limit_at": NOW}, "50", ""),
    ],
)
def test_a_limit_is_told_to_be_reached_or_what_it_comes_to(facts: dict[str, Any], allowed: str, said: str) -> None:
    assert outlooks.sentence(foreseen(**facts), allowed, "UTC", NOW) == said


def put(user: User, **facts: Any) -> Forecast:
    now = timezone.now()
    span = {"period_start": now - 10 * DAY, "period_end": now + 20 * DAY, "made_at": now}
    one = foreseen(owner_id=user.pk, user=user, **{**span, **facts})
    one.save()
    return one


def test_the_sentence_stands_under_the_bar_of_its_own_limit_and_period(alice_client: Client, alice: User) -> None:
    one = put(alice)
    Allocation.objects.create(
        **{"user": alice, "owner_id": alice.pk, "type": "monthly", "allowed_requests": 50, "used_requests": 20},
        **{"period_start": one.period_start, "period_end": one.period_end},
    )
    said = "At this pace it comes to about 38 of 50 by the end of the month."
    glance = {"HX-Request": "true"}
    assert said in alice_client.get("/settings/usage/limits/").content.decode()
    assert said in alice_client.get("/settings/usage/limits/live/", headers=glance).content.decode()
    assert said in alice_client.get("/settings/usage/limits/glance/", headers=glance).content.decode()
    Allocation.objects.filter(user=alice, type="monthly").update(used_requests=50)
    assert "At this pace" not in alice_client.get("/settings/usage/limits/").content.decode()
    Allocation.objects.filter(user=alice, type="monthly").update(used_requests=20, period_end=one.period_end + DAY)
    assert "At this pace" not in alice_client.get("/settings/usage/limits/").content.decode()


def test_the_month_is_told_with_its_bounds_and_what_they_stand_on(alice_client: Client, alice: User, bob: User) -> None:
    add_call(alice)
    page = "/settings/usage/"
    assert "This month" not in alice_client.get(page).content.decode()
    for whose, expected in ((alice, 12.4), (bob, 99.9)):
        for dimension in ("requests", "tokens", "cost"):
            facts = {"expected": expected, "low": 10.1, "high": 15.2, "limit": None}
            put(whose, type="", dimension=dimension, **facts)
    text = alice_client.get(page).content.decode()
    assert "comes to about <b>$12.40</b>, most likely between $10.10 and $15.20: some 12 calls and 12 tokens." in text
    assert "past weeks" in text
    assert "99.90" not in text
    Forecast.objects.update(basis="pace")
    assert "By the pace of this month alone" in alice_client.get(page).content.decode()
    Forecast.objects.update(made_at=timezone.now() - 4 * DAY)
    assert "This month" not in alice_client.get(page).content.decode()
