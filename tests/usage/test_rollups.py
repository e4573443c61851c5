"""Rollups and what is read from them: always the sums over the records."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from zoneinfo import ZoneInfo

import pytest
from django.db import transaction

from digitalme.accounts.models import User
from digitalme.statements import send
from tests.usage.test_recorder import a_record
from usage import analytics, recorder, rollups, tasks
from usage.models import DailyUsage, HourlyUsage, RollupMark, UsageRecord
from usage.recorder import Record

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 30, 12, 30, tzinfo=UTC)
STATUSES = ("ok", "ok", "failed", "cut", "aborted", "refused", "swept")


def write(records: list[Record], now: datetime = NOW) -> None:
    with transaction.atomic():
        send(recorder.record(records, now=now))


def calls_of(user: User, count: int, seed: int = 1) -> list[Record]:
    """Return calls of every kind over the last three days, the change of clocks of 29 March included."""
    random = Random(seed)  # noqa: S311 (a mixture, not a secret)
    return [
        a_record(
            user_id=user.id,
            provider=random.choice(("openai", "anthropic")),
            model=random.choice(("small", "large")),
            key_source=random.choice(("user", "system")),
            status=random.choice(STATUSES),
            cost=random.choice((None, 0, random.randrange(10**9))),
            input_tokens=random.randrange(1000),
            output_tokens=random.randrange(1000),
            response_ms=random.choice((None, random.randrange(1000))),
            timestamp=NOW - timedelta(seconds=random.randrange(3 * 86_400)),
        )
        for _ in range(count)
    ]


def facts(records: list[Record]) -> tuple[int, int, int, int, int, Decimal]:
    costs = [one.cost for one in records]
    return (
        sum(one.status != "refused" for one in records),
        sum(one.status in ("failed", "cut", "swept") for one in records),
        sum(one.status == "refused" for one in records),
        costs.count(None),
        sum(one.input_tokens + one.output_tokens for one in records),
        Decimal(sum(cost or 0 for cost in costs)) / 10**9,
    )


def of(totals: analytics.Totals) -> tuple[int, int, int, int, int, Decimal]:
    return (
        totals.requests,
        totals.failed,
        totals.refused,
        totals.unpriced,
        totals.total_tokens,
        totals.cost,
    )


@pytest.fixture(params=["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"])
def dana(db: None, request: pytest.FixtureRequest) -> User:
    return User.objects.create_user("dana@example.com", time_zone=request.param)


def tables() -> list[Counter[tuple[object, ...]]]:
    return [
        Counter(HourlyUsage.objects.values_list("hour", "provider", "model", "key_source", *rollups.SUMMED)),
        Counter(DailyUsage.objects.values_list("day", "provider", "model", "key_source", *rollups.SUMMED)),
    ]


def test_hours_and_days_are_the_sums_of_their_records(dana: User) -> None:
    records = calls_of(dana, 300)
    write(records)
    assert rollups.roll_up(now=NOW) > 0
    until = datetime(2026, 3, 30, 12, tzinfo=UTC)
    assert RollupMark.objects.get().rolled_until == until
    zone = ZoneInfo(dana.time_zone)
    for row in HourlyUsage.objects.values("hour").distinct():
        mine = [one for one in records if row["hour"] <= one.timestamp < row["hour"] + rollups.HOUR]
        assert of(analytics.summary(dana, row["hour"], row["hour"] + rollups.HOUR)) == facts(mine)
    by_day: Counter[date] = Counter()
    for one in records:
        if one.timestamp < until and one.status != "refused":
            by_day[rollups.hour_of(one.timestamp).astimezone(zone).date()] += 1
    rolled: Counter[date] = Counter()
    for day, requests in DailyUsage.objects.values_list("day", "requests"):
        rolled[day] += requests
    assert +rolled == by_day


def test_rolling_up_again_changes_nothing(dana: User) -> None:
    write(calls_of(dana, 100))
    rollups.roll_up(now=NOW)
    before = tables()
    assert rollups.roll_up(now=NOW) == 0
    RollupMark.objects.update(rolled_until=NOW - timedelta(days=4))
    assert rollups.roll_up(now=NOW) > 0
    assert tables() == before


def test_numbers_are_live_at_every_stage(dana: User) -> None:
    early, late = calls_of(dana, 60), calls_of(dana, 60, seed=2)
    span = (NOW - timedelta(days=3, hours=1), NOW + timedelta(hours=1))
    write(early)
    assert of(analytics.summary(dana, *span)) == facts(early)
    rollups.roll_up(now=NOW)
    assert of(analytics.summary(dana, *span)) == facts(early)
    write(late)
    assert of(analytics.summary(dana, *span)) == facts(early + late)
    rollups.roll_up(now=NOW)
    assert of(analytics.summary(dana, *span)) == facts(early + late)
    openai = [one for one in early + late if one.provider == "openai"]
    assert of(analytics.summary(dana, *span, provider="openai")) == facts(openai)
    assert of(analytics.breakdown(dana, *span, by="provider")["openai"]) == facts(openai)
    odd = (NOW - timedelta(hours=30, minutes=17), NOW - timedelta(hours=3, minutes=5))
    assert of(analytics.summary(dana, *odd)) == facts([o for o in early + late if odd[0] <= o.timestamp < odd[1]])


@pytest.mark.parametrize("rolled", [False, True])
def test_the_days_of_a_series_add_up_to_the_whole(dana: User, rolled: bool) -> None:
    records = calls_of(dana, 200)
    write(records)
    if rolled:
        rollups.roll_up(now=NOW)
    points = analytics.daily_by_provider(dana, date(2026, 3, 26), date(2026, 3, 31), NOW)
    assert sum(point.cost for point in points) == facts(records)[5]
    assert sum(point.requests for point in points) == facts(records)[0]
    assert [(point.day, point.provider) for point in points] == sorted({(p.day, p.provider) for p in points})
    only = analytics.series(dana, date(2026, 3, 26), date(2026, 3, 31), NOW, provider="openai")
    assert {point.provider for point in only} == {"openai"}


def test_today_begins_at_midnight_where_the_user_is(dana: User) -> None:
    midnight = datetime.combine(NOW.astimezone(ZoneInfo(dana.time_zone)).date(), datetime.min.time())
    begin = midnight.replace(tzinfo=ZoneInfo(dana.time_zone)).astimezone(UTC)
    write(
        [a_record(user_id=dana.id, timestamp=begin), a_record(user_id=dana.id, timestamp=begin - timedelta(seconds=1))]
    )
    assert analytics.today(dana, NOW).requests == 1
    rollups.roll_up(now=NOW)
    assert analytics.today(dana, NOW).requests == 1


def test_a_correction_of_an_hour_that_was_rolled_up_reaches_the_rollups(dana: User) -> None:
    swept = a_record(user_id=dana.id, status="swept", timestamp=NOW - timedelta(hours=20), input_tokens=500)
    write([swept])
    rollups.roll_up(now=NOW)
    assert HourlyUsage.objects.get().failed == 1
    with transaction.atomic():
        send(recorder.correct(a_record(request_id=swept.request_id, user_id=dana.id, timestamp=swept.timestamp)))
    rollups.roll_up(now=NOW)
    assert (HourlyUsage.objects.get().failed, HourlyUsage.objects.get().input_tokens) == (0, 21)
    assert (DailyUsage.objects.get().failed, DailyUsage.objects.get().input_tokens) == (0, 21)


def test_others_calls_are_not_mine(dana: User) -> None:
    emil = User.objects.create_user("emil@example.com")
    write(calls_of(emil, 20))
    rollups.roll_up(now=NOW)
    assert of(analytics.summary(dana, NOW - timedelta(days=4), NOW)) == facts([])
    assert analytics.daily_by_provider(dana, date(2026, 3, 26), date(2026, 3, 31), NOW) == []


def test_the_task_rolls_up_to_now(db: None) -> None:
    assert tasks.roll_up() == 0
    assert RollupMark.objects.count() == 1
    write([a_record(timestamp=datetime.now(UTC) - timedelta(hours=5))], datetime.now(UTC))
    assert tasks.roll_up() >= 1
    assert HourlyUsage.objects.count() == UsageRecord.objects.count() == 1
