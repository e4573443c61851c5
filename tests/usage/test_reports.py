"""Reports on a person, a team and the house: the same sums to the last digit, whichever way they are told apart."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from digitalme.accounts import roles
from digitalme.accounts.models import AccessToken, Membership, Team, User
from tests.usage.test_recorder import a_record
from tests.usage.test_rollups import NOW, calls_of, facts, of, write
from usage import analytics, house, rollups
from usage.analytics import Totals, UsageReport
from usage.reading import Wanted, Whose
from usage.recorder import Record
from usage.rollups import day_bounds, hour_of

pytestmark = pytest.mark.django_db
FIRST, LAST = date(2026, 3, 26), date(2026, 3, 30)
START, END = datetime(2026, 3, 26, tzinfo=UTC), datetime(2026, 3, 31, tzinfo=UTC)


@pytest.fixture
def dana(db: None) -> User:
    return User.objects.create_user("dana@example.com", time_zone="Asia/Kolkata")


@pytest.fixture
def emil(db: None) -> User:
    return User.objects.create_user("emil@example.com", time_zone="America/New_York")


def report_on(user: User) -> UsageReport:
    return analytics.report(Wanted(analytics.of_user(user), START, END), zone=user.time_zone, now=NOW)


def added(sums: Iterator[Totals] | Any) -> tuple[Any, ...]:
    whole = Totals()
    for one in sums:
        whole.merge(one)
    return of(whole)


def test_totals_are_equal_over_everything_they_are_told_apart_by(dana: User, emil: User) -> None:
    team = Team.objects.create(name="Pair", slug="pair")
    first = [*calls_of(dana, 60), *calls_of(emil, 60, seed=2)]
    second = [*calls_of(dana, 40, seed=3), *calls_of(emil, 40, seed=4)]
    first, second = ([one._replace(team_id=one.team_id and team.pk) for one in burst] for burst in (first, second))
    write(first)
    records = first
    for burst in ([], second, []):
        write(burst)
        records = records + burst
        mine = [one for one in records if one.user_id == dana.pk]
        found = report_on(dana)
        assert of(found.total) == facts(mine)
        for name, parts in found.by.items():
            assert added(parts.values()) == facts(mine), name
        assert added(found.series) == facts(mine)
        ours = [one for one in records if one.team_id == team.pk]
        shared = analytics.report(Wanted(analytics.of_team(team), START, END), zone="UTC", now=NOW)
        assert of(shared.total) == facts(ours) == added(shared.by["user"].values()) == added(shared.series)
        assert of(shared.by["user"][dana.pk]) == facts(one for one in ours if one.user_id == dana.pk)
        rollups.roll_up(now=NOW)
        for interval in ("day", "hour"):
            whole = house.report(FIRST, LAST, interval=interval)
            assert of(whole.total) == facts(records) == added(whole.series), interval
            for name, parts in whole.by.items():
                if name != "tag":
                    assert added(parts.values()) == facts(records), name
        assert of(whole.by["user"][emil.pk]) == facts(one for one in records if one.user_id == emil.pk)
        assert of(whole.by["tag"]["a"]) == facts(one for one in records if one.tag == "a")


@pytest.mark.parametrize("days", [1, 2])
def test_a_course_tells_its_days_and_as_much_of_the_days_before_as_went_by(dana: User, days: int) -> None:
    calls = [
        *calls_of(dana, 90),
        *(one._replace(timestamp=one.timestamp - timedelta(days=2)) for one in calls_of(dana, 60)),
    ]
    write(calls)
    tz, today = ZoneInfo(dana.time_zone), NOW.astimezone(ZoneInfo(dana.time_zone)).date()
    first, whose = today - timedelta(days=days - 1), analytics.of_user(dana)
    elapsed = NOW - day_bounds(first, dana.time_zone)[0]
    until = day_bounds(first - timedelta(days=days), dana.time_zone)[0] + elapsed

    def day_of(one: Record) -> date:
        return hour_of(one.timestamp).astimezone(tz).date()

    now = [one for one in calls if first <= day_of(one) <= today]
    before = [one for one in calls if day_of(one) >= first - timedelta(days=days) and one.timestamp < until]
    assert now
    assert before
    for _ in range(2):
        found = analytics.course(whose, first, today, zone=dana.time_zone, now=NOW, by="model")
        assert of(found.total) == facts(now) == added(found.series) == added(found.by["model"].values())
        assert of(found.before) == facts(before)
        timed = [one for one in now if one.response_ms is not None and one.status != "refused"]
        assert sum(found.total.latencies) == len(timed)
        only = analytics.course(whose, first, today, zone=dana.time_zone, now=NOW, provider="openai")
        assert of(only.total) == facts(one for one in now if one.provider == "openai")
        rollups.roll_up(now=NOW)


def test_a_report_tells_how_long_calls_took_and_how_much_they_grew(dana: User) -> None:
    times = [40] * 90 + [4000] * 10
    calls = [a_record(user_id=dana.pk, timestamp=NOW - timedelta(hours=30), response_ms=one) for one in times]
    write([*calls, *(a_record(user_id=dana.pk, timestamp=START - timedelta(days=1)) for _ in range(25))], NOW)
    for _ in range(2):
        for found in (report_on(dana), house.report(FIRST, LAST)):
            assert found.total.p50_response_ms == pytest.approx(40, rel=0.5)
            assert found.total.p95_response_ms == pytest.approx(4000, rel=0.5)
            assert found.by["provider"]["openai"].p95_response_ms == found.total.p95_response_ms
            assert found.before.requests == 25
            assert found.change("requests") == 3
            assert found.change("failed") is None
        rollups.roll_up(now=NOW)


def test_a_report_takes_few_queries(dana: User, django_assert_max_num_queries: Callable[[int], Any]) -> None:
    write(calls_of(dana, 30))
    rollups.roll_up(now=NOW)
    write(calls_of(dana, 30, seed=2))
    with django_assert_max_num_queries(12):
        report_on(dana)
    with django_assert_max_num_queries(12):
        house.report(FIRST, LAST)
    with django_assert_max_num_queries(3):
        analytics.today(dana, NOW)


def test_an_hour_is_told_by_the_hour(dana: User) -> None:
    write([a_record(user_id=dana.pk, timestamp=NOW - timedelta(hours=ago)) for ago in (0, 0, 2, 20)])
    rollups.roll_up(now=NOW)
    points = analytics.hourly(Wanted(analytics.of_user(dana), START, END), by="model")
    hours = [rollups.hour_of(NOW - timedelta(hours=ago)) for ago in (20, 2, 0)]
    assert [(point.at, point.requests) for point in points] == list(zip(hours, (1, 1, 2), strict=True))


class OneCallManyTimes(TestCase):
    """N calls cost exactly N times one."""

    @settings(max_examples=10, deadline=None)
    @given(st.integers(0, 10**12), st.integers(1, 40), st.integers(0, 4000))
    def test_n_calls_cost_exactly_n_times_one(self, nano: int, count: int, minutes: int) -> None:
        user_id = uuid4()
        began = NOW - timedelta(minutes=minutes)
        calls = [a_record(request_id=uuid4(), user_id=user_id, cost=nano, timestamp=began) for _ in range(count)]
        write(calls)
        for _ in range(2):
            wanted = Wanted(Whose("user_id", user_id), START - timedelta(days=2), END)
            assert analytics.totals(wanted).cost == count * Decimal(nano) / 10**9
            rollups.roll_up(now=NOW)


def house_calls(user: User) -> list[Record]:
    token = AccessToken.objects.create(user=user, name="nightly", digest="x")
    return [a_record(user_id=user.pk, token_id=token.pk, tag="weekly report", timestamp=datetime.now(UTC))]


@pytest.mark.parametrize("role", list(roles.Role))
def test_the_page_of_the_house_is_for_staff(dana: User, role: roles.Role, client: Client) -> None:
    write(house_calls(dana), datetime.now(UTC))
    roles.assign(dana, role)
    client.force_login(dana)
    page = client.get("/admin/usage/houseusage/?days=7", follow=True)
    text = page.content.decode()
    told = all(word in text for word in ("dana@example.com", "nightly of", "weekly report", "Last 30 days"))
    assert told == (role is not roles.Role.USER)
    if told:
        assert client.post("/admin/usage/houseusage/").status_code == 405
        assert client.get("/admin/usage/houseusage/1/change/").status_code == 302


def test_a_team_sees_its_usage_if_one_looks_after_it(dana: User, emil: User, client: Client) -> None:
    team = Team.objects.create(name="Pair", slug="pair")
    Membership.objects.create(team=team, user=dana, role="owner")
    place = Membership.objects.create(team=team, user=emil, role="member")
    write([a_record(user_id=emil.pk, team_id=team.pk, model="m-1", timestamp=datetime.now(UTC))], datetime.now(UTC))
    client.force_login(dana)
    text = client.get("/settings/team/pair/").content.decode()
    assert "Usage of the team" in text
    assert "m-1" in text
    told = client.get("/api/v1/teams/pair/usage/").json()
    assert [(one["user"], one["requests"]) for one in told["by_user"]] == [(str(emil.pk), 1)]
    assert client.get("/api/v1/teams/pair/usage/series/?by=model").json()[0]["model"] == "m-1"
    client.force_login(emil)
    assert "Usage of the team" not in client.get("/settings/team/pair/").content.decode()
    for path in ("usage/", "usage/series/"):
        assert client.get(f"/api/v1/teams/pair/{path}").status_code == 403
    place.delete()
    assert client.get("/api/v1/teams/pair/usage/").status_code == 404


def test_the_api_tells_dimensions_changes_and_hours(dana: User, client: Client) -> None:
    token: UUID = uuid4()
    write([a_record(user_id=dana.pk, token_id=token, tag="x", timestamp=datetime.now(UTC))], datetime.now(UTC))
    client.force_login(dana)
    told = client.get("/api/v1/usage/summary/").json()
    assert (told["by_token"][0]["token"], told["by_tag"][0]["tag"]) == (str(token), "x")
    assert told["change"] == {"requests": None, "failed": None, "total_tokens": None, "cost": None}
    assert told["before"]["requests"] == 0
    assert "hour" in client.get("/api/v1/usage/series/?interval=hour").json()[0]
    assert client.get("/api/v1/usage/series/?interval=hour&from=2026-01-01").status_code == 400
    assert client.get("/api/v1/usage/series/?by=user").status_code == 400
