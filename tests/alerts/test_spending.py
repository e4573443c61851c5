"""A day that costs much more than a person's own days is told of once."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitalme.accounts.models import User
from digitalme.alerts import spending
from digitalme.alerts.spending import unusual
from digitalme.notifications import inbox
from usage import rollups
from usage.models import UsageRecord

NOW = datetime(2026, 3, 30, 15, tzinfo=UTC)
COST = st.decimals(0, 1000, places=2)


def call(user: User, at: datetime, cost: str) -> None:
    UsageRecord.objects.create(
        request_id=uuid4(), user_id=user.pk, provider="openai", status="ok", timestamp=at, cost=Decimal(cost)
    )


def live(user: User, cost: str = "0.50", days: int = 14) -> None:
    """A fortnight of days that cost about the same."""
    for day in range(1, days + 1):
        call(user, NOW - timedelta(days=day), cost)


def told(user: User) -> list[str]:
    return list(inbox.of(user.pk).values_list("title", flat=True))


def test_an_unusual_day_is_told_of_once_whether_rolled_up_or_not(dana: User) -> None:
    live(dana)
    call(dana, NOW - timedelta(hours=5), "1.00")
    rollups.roll_up(now=NOW)
    assert spending.run(now=NOW) == 0
    call(dana, NOW - timedelta(minutes=1), "1.20")
    assert spending.run(now=NOW) == 1
    assert spending.run(now=NOW + timedelta(minutes=15)) == 0
    assert told(dana) == ["Unusual spending today: $2.20"]
    assert "about $0.50" in inbox.of(dana.pk).get().text


def test_today_is_the_persons_own_day(dana: User) -> None:
    live(dana)
    call(dana, NOW.replace(hour=2), "50")  # in New York that was yesterday
    rollups.roll_up(now=NOW)
    User.objects.update(time_zone="America/New_York")
    assert spending.run(now=NOW) == 0
    User.objects.update(time_zone="UTC")
    assert spending.run(now=NOW) == 1


def test_nobody_without_a_history_or_an_account_or_with_small_change_is_told(dana: User) -> None:
    other = User.objects.create_user("other@example.com")
    live(dana, cost="0.01")
    live(other, days=spending.FEWEST_DAYS - 1)
    rollups.roll_up(now=NOW)
    call(dana, NOW, "0.99")
    call(other, NOW, "100")
    assert spending.run(now=NOW) == 0
    call(dana, NOW, "0.10")
    User.objects.update(is_active=False)
    assert spending.run(now=NOW) == 0
    User.objects.update(is_active=True)
    assert spending.run(now=NOW) == 1


def test_looking_at_many_costs_what_looking_at_one_does(
    dana: User, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    for number in range(5):
        person = User.objects.create_user(f"p{number}@example.com")
        call(person, NOW, "5")
    with django_assert_max_num_queries(9):
        assert spending.run(now=NOW) == 0


@pytest.mark.once
@given(COST, st.lists(COST, max_size=28))
def test_what_is_usual_is_of_ones_own_days_and_more_never_makes_it_less_unusual(
    today: Decimal, days: list[Decimal]
) -> None:
    usual = unusual(today, days)
    assert unusual(today, [*days, Decimal(0)]) == usual  # a day without calls says nothing
    if usual is not None:
        assert today >= 3 * usual
        assert today >= max(days) + 1
        assert unusual(today + 1, days) == usual
    assert unusual(max(days, default=Decimal(0)), days) is None
