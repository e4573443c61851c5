"""Rollups and what is read from them: always the sums over the records."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from django.core.management import CommandError
from django.db import transaction

from digitalme.accounts.models import User
from digitalme.statements import send
from tests.commands import run
from tests.usage.test_recorder import a_record
from usage import analytics, comparison, recorder, rollups, sums, tasks
from usage.models import DailyUsage, HourlyTags, HourlyUsage, HouseUsage, ReopenedHour, RollupMark, UsageRecord
from usage.reading import Wanted
from usage.recorder import Record

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 30, 12, 30, tzinfo=UTC)
SPAN = (NOW - timedelta(days=3, hours=1), NOW + timedelta(hours=1))
STATUSES = ("ok", "ok", "failed", "cut", "aborted", "refused", "swept")
TEAM, TOKENS = uuid4(), (uuid4(), uuid4(), None)


def write(records: list[Record], now: datetime = NOW) -> None:
    with transaction.atomic():
        send(recorder.record(records, now=now))


def calls_of(user: User, count: int, seed: int = 1) -> list[Record]:
    """Return calls of every kind over the last three days, the change of clocks of 29 March included."""
    random = Random(seed)  # noqa: S311 (a mixture, not a secret)
    return [
        a_record(
            request_id=uuid4(),
            user_id=user.id,
            team_id=random.choice((TEAM, None)),
            token_id=random.choice(TOKENS),
            provider=random.choice(("openai", "anthropic")),
            model=random.choice(("small", "large")),
            key_source=random.choice(("user", "system")),
            status=random.choice(STATUSES),
            cost=random.choice((None, 0, random.randrange(10**9))),
            input_tokens=random.randrange(1000),
            output_tokens=random.randrange(1000),
            cache_write_tokens=random.randrange(10),
            response_ms=random.choice((None, random.randrange(1000))),
            counted_by=random.choice(("provider", "counted", "estimated")),
            tag=random.choice(("", "a", "b", "it's; %s")),
            timestamp=NOW - timedelta(seconds=random.randrange(3 * 86_400)),
        )
        for _ in range(count)
    ]


def facts(records: Iterable[Record]) -> tuple[int, int, int, int, int, Decimal]:
    records = list(records)
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


def sums_of(user: User, start: datetime, end: datetime, provider: str | None = None) -> tuple[object, ...]:
    return of(analytics.totals(Wanted(analytics.of_user(user), start, end, provider)))


anywhere = pytest.mark.parametrize("dana", ["UTC", "America/New_York", "Asia/Kolkata"], indirect=True)


@pytest.fixture
def dana(db: None, request: pytest.FixtureRequest) -> User:
    """Somebody who lives in Berlin, or where the test is `anywhere`."""
    return User.objects.create_user("dana@example.com", time_zone=getattr(request, "param", "Europe/Berlin"))


def tables() -> list[Counter[tuple[object, ...]]]:
    key = (*rollups.KEY, *sums.COLUMNS)
    return [
        Counter(HourlyUsage.objects.values_list("hour", *key)),
        Counter(DailyUsage.objects.values_list("day", *key)),
        Counter(HourlyTags.objects.values_list("hour", *rollups.TAG_KEY, *sums.COLUMNS)),
        Counter(HouseUsage.objects.values_list("day", "dimension", "value", *sums.COLUMNS)),
    ]


@anywhere
def test_hours_and_days_are_the_sums_of_their_records(dana: User) -> None:
    records = calls_of(dana, 300)
    write(records)
    assert rollups.roll_up(now=NOW) > 0
    until = datetime(2026, 3, 30, 12, tzinfo=UTC)
    assert RollupMark.objects.get().rolled_until == until
    zone = ZoneInfo(dana.time_zone)
    for row in HourlyUsage.objects.values("hour").distinct():
        mine = [one for one in records if row["hour"] <= one.timestamp < row["hour"] + rollups.HOUR]
        assert sums_of(dana, row["hour"], row["hour"] + rollups.HOUR) == facts(mine)
    by_day: Counter[date] = Counter()
    for one in records:
        if one.timestamp < until and one.status != "refused":
            by_day[rollups.hour_of(one.timestamp).astimezone(zone).date()] += 1
    rolled: Counter[date] = Counter()
    for day, requests in DailyUsage.objects.values_list("day", "requests"):
        rolled[day] += requests
    assert +rolled == by_day
    assert list(comparison.differences()) == []


def test_rolling_up_again_changes_nothing(dana: User) -> None:
    write(calls_of(dana, 100))
    rollups.roll_up(now=NOW)
    before = tables()
    assert rollups.roll_up(now=NOW) == 0
    RollupMark.objects.update(rolled_until=NOW - timedelta(days=4))
    assert rollups.roll_up(now=NOW) > 0
    assert [+table for table in tables()] == before


class Killed(Exception):
    """A worker that was killed."""


@anywhere
def test_sums_are_exact_through_bursts_a_killed_worker_and_a_task_run_twice(
    dana: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    early, late = calls_of(dana, 60), calls_of(dana, 60, seed=2)
    odd = (NOW - timedelta(hours=30, minutes=17), NOW - timedelta(hours=3, minutes=5))

    def exact(records: list[Record]) -> None:
        assert sums_of(dana, *SPAN) == facts(records)
        assert sums_of(dana, *SPAN, "openai") == facts(one for one in records if one.provider == "openai")
        assert sums_of(dana, *odd) == facts(one for one in records if odd[0] <= one.timestamp < odd[1])
        points = analytics.daily_by_provider(dana, date(2026, 3, 26), date(2026, 3, 31), NOW)
        assert sum(point.cost for point in points) == facts(records)[5]

    def is_killed(*_: object) -> None:
        raise Killed

    def a_worker_is_killed() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(rollups, "_make_day", is_killed)
            with pytest.raises(Killed):
                rollups.roll_up(now=NOW)

    write(early)
    exact(early)
    a_worker_is_killed()
    exact(early)
    assert not HourlyUsage.objects.exists()
    assert not HouseUsage.objects.exists()
    rollups.roll_up(now=NOW)
    exact(early)
    write(late)
    exact(early + late)
    a_worker_is_killed()
    exact(early + late)
    rollups.roll_up(now=NOW)
    rollups.roll_up(now=NOW)
    exact(early + late)
    assert not ReopenedHour.objects.exists()
    assert list(comparison.differences()) == []


def test_more_reopened_hours_than_are_told_apart_are_read_from_records(dana: User) -> None:
    records = [a_record(user_id=dana.id, timestamp=NOW - timedelta(hours=ago)) for ago in range(2, 40)]
    write(records, NOW - timedelta(days=2))
    rollups.roll_up(now=NOW)
    assert not ReopenedHour.objects.exists()
    again = [one._replace(request_id=uuid4()) for one in records]
    write(again)
    assert ReopenedHour.objects.count() == len(again)
    assert sums_of(dana, *SPAN) == facts(records + again)
    assert rollups.roll_up(now=NOW) == len(again)
    assert sums_of(dana, *SPAN) == facts(records + again)


def test_only_the_most_used_tags_of_an_hour_are_kept(dana: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollups, "TAGS_AN_HOUR", 2)
    tags = ["often"] * 3 + ["twice"] * 2 + ["once", "never again", ""]
    write([a_record(user_id=dana.id, tag=tag, timestamp=NOW - timedelta(hours=3)) for tag in tags], NOW)
    rollups.roll_up(now=NOW)
    assert dict(HourlyTags.objects.values_list("tag", "requests")) == {"often": 3, "twice": 2}
    wanted = Wanted(analytics.of_user(dana), *SPAN)
    told = analytics.report(wanted, zone=dana.time_zone, now=NOW).by["tag"]
    assert {tag: one.requests for tag, one in told.items()} == {"often": 3, "twice": 2, "": 3}


@anywhere
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
    only = analytics.daily(
        analytics.of_user(dana),
        date(2026, 3, 26),
        date(2026, 3, 31),
        zone=dana.time_zone,
        now=NOW,
        provider="openai",
    )
    assert {point.provider for point in only} == {"openai"}


@anywhere
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
    assert sums_of(dana, NOW - timedelta(days=4), NOW) == facts([])
    assert analytics.daily_by_provider(dana, date(2026, 3, 26), date(2026, 3, 31), NOW) == []


def test_the_task_rolls_up_to_now(db: None) -> None:
    assert tasks.roll_up() == 0
    assert RollupMark.objects.count() == 1
    write([a_record(timestamp=datetime.now(UTC) - timedelta(hours=5))], datetime.now(UTC))
    assert tasks.roll_up() >= 1
    assert HourlyUsage.objects.count() == UsageRecord.objects.count() == 1


@pytest.fixture
def rolled(db: None) -> User:
    """Somebody whose calls are summed up."""
    dana = User.objects.create_user("dana@example.com", time_zone="Asia/Kolkata")
    write(calls_of(dana, 40))
    rollups.roll_up(now=NOW)
    return dana


SPOILT: list[Callable[[], object]] = [
    lambda: HourlyUsage.objects.filter(pk=HourlyUsage.objects.order_by("pk")[0].pk).update(cost=7),
    lambda: HourlyUsage.objects.filter(pk=HourlyUsage.objects.order_by("pk")[0].pk).delete(),
    lambda: DailyUsage.objects.filter(pk=DailyUsage.objects.order_by("pk")[0].pk).update(ms_3=99),
    lambda: HourlyTags.objects.filter(pk=HourlyTags.objects.order_by("pk")[0].pk).update(tag="a lie"),
    lambda: HouseUsage.objects.filter(dimension="token").update(requests=1),
]


@pytest.mark.parametrize("spoil", SPOILT)
def test_the_check_finds_what_is_off_and_makes_it_anew(rolled: User, spoil: Callable[[], object]) -> None:
    before = tables()
    assert run("check_rollups") == ""
    spoil()
    with pytest.raises(CommandError, match="sums differ"):
        run("check_rollups")
    assert run("check_rollups", "--repair") == "Repaired.\n"
    assert [+table for table in tables()] == before
    assert run("check_rollups") == ""


def test_a_new_time_zone_is_repaired_into_everybodys_days(rolled: User) -> None:
    User.objects.update(time_zone="America/New_York")
    write([a_record(user_id=rolled.pk, timestamp=NOW - timedelta(hours=20))])
    rollups.roll_up(now=NOW)
    run("check_rollups", "--repair")
    requests = sum(DailyUsage.objects.values_list("requests", flat=True))
    assert requests == sum(HourlyUsage.objects.values_list("requests", flat=True))
