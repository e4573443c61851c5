"""Forecasts of months and limits are made from the rollups, of those who were here lately, and again each hour."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from kombu.exceptions import OperationalError

from digitalme.accounts import roles, tokens
from digitalme.accounts.models import Team, User
from digitalme.forecasts import making, reading, tasks
from digitalme.forecasts.models import Forecast
from digitalme.statements import ask
from quotas import owners
from quotas.models import Allocation
from tests.forecasts.conftest import APRIL, DAY, HOUR, MARCH, NOW, calls_at_noon, monthly
from usage.models import HourlyUsage


def of_month(owner: User | Team, dimension: str = "requests") -> Forecast:
    return Forecast.objects.get(owner_id=owner.pk, type="", dimension=dimension)


def test_a_limit_is_reached_on_the_day_that_the_week_says(limit: Allocation, dana: User) -> None:
    assert making.make(now=NOW) == (1, False)
    told = Forecast.objects.get(allocation_id=limit.pk)
    # 570 are left: Friday 100, the weekend 20, Monday to Thursday 400, so that Friday the 20th has the last 50.
    assert told.reaches_limit_at is not None
    assert timedelta(days=7) - HOUR < told.reaches_limit_at - NOW < timedelta(days=8)
    assert (told.basis, told.limit, told.used, told.owner_id) == ("season", 1500, 930, dana.pk)
    # Of March's weekdays 13 come, and 6 days of weekends.
    assert told.expected == pytest.approx(930 + 1300 + 60, rel=0.03)
    assert told.low <= told.expected <= told.high
    month = of_month(dana)
    assert (month.period_start, month.period_end, month.used, month.limit) == (MARCH, APRIL, 930, None)
    assert of_month(dana, "cost").expected == pytest.approx(month.expected / 100, rel=0.03)
    assert of_month(dana, "tokens").expected == pytest.approx(month.expected * 10, rel=0.03)


def test_it_is_made_once_an_hour_and_leaves_no_row_of_what_is_over(limit: Allocation, dana: User) -> None:
    assert [making.make(now=NOW)[0], making.make(now=NOW + timedelta(minutes=50))[0]] == [1, 0]
    Allocation.objects.filter(pk=limit.pk).delete()
    assert making.make(now=NOW + timedelta(hours=1))[0] == 1
    assert set(Forecast.objects.values_list("type", "made_at")) == {("", NOW + timedelta(hours=1))}
    assert making.make(now=NOW + 9 * DAY) == (0, False)
    assert not Forecast.objects.exists()


def test_a_run_that_ends_early_is_taken_up_where_it_stopped(dana: User) -> None:
    emil = User.objects.create_user("emil@example.com")
    calls_at_noon(emil.pk, 2)
    never = User.objects.create_user("never@example.com")
    ticks = iter(range(0, 1000, 10))
    found = [making.make(now=NOW, clock=lambda: next(ticks)) for _ in range(3)]
    assert found == [(1, True), (1, False), (0, False)]
    assert of_month(emil).basis == "pace"
    assert not Forecast.objects.filter(user=never).exists()


@pytest.mark.parametrize(
    ("facts", "habit"),
    [
        ({"provider": "openai"}, True),
        ({"provider": "anthropic"}, False),
        ({"binds": "own", "type": "monthly_budget"}, False),
        ({"binds": "all", "type": "monthly_budget"}, True),
    ],
)
def test_a_limit_learns_from_the_calls_that_it_counts_only(facts: dict[str, Any], habit: bool, dana: User) -> None:
    row = monthly(owners.of_user(dana.pk), used_requests=930, **facts)
    making.make_for(dana, now=NOW)
    assert (Forecast.objects.get(allocation_id=row.pk).basis == "season") is habit


def test_a_day_is_told_by_hours_and_not_before_there_is_something_to_tell(dana: User) -> None:
    today = NOW.replace(hour=0, minute=0)
    span = {"period_start": today, "period_end": today + DAY, "type": "daily", "allowed_requests": 120}
    row = monthly(owners.of_user(dana.pk), used_requests=100, **span)
    untouched = monthly(owners.of_user(dana.pk), provider="openai", **span)
    making.make_for(dana, now=NOW)
    told = Forecast.objects.get(allocation_id=row.pk)
    # Noon is over, and after noon nothing ever comes.
    assert told.expected == pytest.approx(100, abs=10)
    assert not Forecast.objects.filter(allocation_id=untouched.pk).exists()
    assert told.holds(NOW + timedelta(hours=2))
    assert not told.holds(NOW + timedelta(hours=4))
    newcomer = User.objects.create_user("new@example.com")
    first = monthly(owners.of_user(newcomer.pk), used_requests=5, **span)
    making.make_for(newcomer, now=today + timedelta(hours=2))
    assert not Forecast.objects.filter(allocation_id=first.pk).exists()
    making.make_for(newcomer, now=today + timedelta(hours=6))
    assert Forecast.objects.get(allocation_id=first.pk).expected == pytest.approx(20)


def test_tokens_and_teams_have_theirs(dana: User) -> None:
    token = tokens.issue(user=dana, name="laptop")[0]
    cap = monthly(owners.of_token(token.pk), used_requests=930, binds="all", type="monthly_budget")
    HourlyUsage.objects.update(token_id=token.pk)
    team = Team.objects.create(name="Pair", slug="pair")
    calls_at_noon(dana.pk, 3, team_id=team.pk, key_source="team")
    assert making.make(now=NOW) == (2, False)
    assert Forecast.objects.get(allocation_id=cap.pk).basis == "season"
    assert of_month(team).used == 300
    assert {one.owner_id for one in reading.of_user(dana.pk, now=NOW)} == {dana.pk, token.pk}
    of_team = reading.from_rows(ask(reading.of_owner(team.pk)), now=NOW)
    assert {one.dimension for one in of_team} == {"requests", "tokens", "cost"}
    rows = {one.pk: one for one in Forecast.objects.filter(team=team)}
    for one in of_team:
        for field in Forecast._meta.concrete_fields:
            assert getattr(one, field.attname) == getattr(rows[one.pk], field.attname)
    assert reading.from_rows(ask(reading.of_owner(team.pk)), now=NOW + 9 * DAY) == []


def test_the_task_has_the_rest_made_behind_it_if_it_can(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, bool]] = []
    assert tasks.make() == 0

    def refuse(**options: bool) -> None:
        asked.append(options)
        raise OperationalError

    more: Callable[..., tuple[int, bool]] = lambda now: (3, True)  # noqa: E731
    monkeypatch.setattr(making, "make", more)
    monkeypatch.setattr(tasks.make, "apply_async", refuse)
    assert (tasks.make(), asked) == (3, [{"retry": False}])


def test_staff_read_the_list_and_change_nothing(limit: Allocation, dana: User, client: Client) -> None:
    making.make_for(dana, now=NOW)
    support = User.objects.create_user("support@example.com")
    roles.assign(support, roles.Role.SUPPORT)
    client.force_login(support)
    found = client.get(f"/admin/forecasts/forecast/?q={dana.pk}").content.decode()
    assert "20 March" in found or "March 20" in found
    assert client.get("/admin/forecasts/forecast/add/").status_code == 403
    client.force_login(dana)
    assert client.get("/admin/forecasts/forecast/").status_code == 302
