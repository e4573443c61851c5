"""Somebody with habits: weeks of calls at noon, with a quiet weekend."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from digitalme.accounts.models import User
from quotas import owners
from quotas.models import Allocation
from quotas.owners import Owner
from usage.models import DailyUsage, HourlyUsage, RollupMark

# A Thursday.
NOW = datetime(2026, 3, 12, 14, 5, tzinfo=UTC)
MARCH, APRIL = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WORKDAY, SUNDAY = 100, 10
SATURDAY = 5


def calls_at_noon(user_id: UUID, days: int, **facts: Any) -> None:
    """Put this many days of calls in the rollups, today's included."""
    today = NOW.replace(hour=12, minute=0)
    moments = [today - DAY * back for back in range(days)]
    rows = []
    for moment in moments:
        requests = WORKDAY if moment.weekday() < SATURDAY else SUNDAY
        sums = {"requests": requests, "input_tokens": 10 * requests, "cost": requests / 100}
        rows.append({"user_id": user_id, "provider": "openai", "key_source": "system", **sums, **facts})
    HourlyUsage.objects.bulk_create(HourlyUsage(hour=at, **row) for at, row in zip(moments, rows, strict=True))
    DailyUsage.objects.bulk_create(DailyUsage(day=at.date(), **row) for at, row in zip(moments, rows, strict=True))
    RollupMark.objects.update_or_create(id=1, defaults={"rolled_until": NOW})


def monthly(owner: Owner, **facts: Any) -> Allocation:
    """Put a limit's account of March on record: of 1,500 requests unless told otherwise."""
    ids = {"owner_id": owner.id, "user_id": owner.user_id, "team_id": owner.team_id, "token_id": owner.token_id}
    span = {"period_start": MARCH, "period_end": APRIL}
    return Allocation.objects.create(**{**ids, **span, "type": "monthly", "allowed_requests": 1500, **facts})


@pytest.fixture
def dana(db: None) -> User:
    """Five weeks of calls, 930 of them in March."""
    person = User.objects.create_user("dana@example.com")
    calls_at_noon(person.pk, 35)
    return person


@pytest.fixture
def limit(dana: User) -> Allocation:
    """Dana's monthly limit, of which 930 of 1,500 requests are used."""
    return monthly(owners.of_user(dana.pk), used_requests=930)
