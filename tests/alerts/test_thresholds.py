"""Limits that run low are told of: at each threshold once a period, and not for what is only held."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitalme.accounts import roles, tokens
from digitalme.accounts.models import Team, User
from digitalme.alerts import thresholds
from digitalme.alerts.models import Reached
from digitalme.alerts.thresholds import THRESHOLDS, due, percent_used
from digitalme.notifications import inbox
from digitalme.notifications.models import Notification
from quotas import owners
from quotas.ledger import Amounts
from quotas.models import HOUSE, Allocation, Limit
from quotas.owners import Owner
from tests.letters import sent
from tests.quotas.conftest import hold, reserve, settle

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def allocation(owner: Owner, type_: str = "daily", **facts: Any) -> Allocation:
    """Put a limit's account of this day on record: of 100 requests unless told otherwise."""
    given: dict[str, Any] = {"allowed_requests": 100, "binds": "own" if "budget" in type_ else "system"}
    return Allocation.objects.create(
        owner_id=owner.id,
        user_id=owner.user_id,
        team_id=owner.team_id,
        token_id=owner.token_id,
        type=type_,
        period_start=NOW.replace(hour=0),
        period_end=NOW.replace(hour=0) + DAY,
        **{**given, **facts},
    )


def use(row: Allocation, requests: int) -> None:
    Allocation.objects.filter(pk=row.pk).update(used_requests=requests)


def titles(user: User) -> list[str]:
    return list(inbox.of(user.pk).order_by("pk").values_list("title", flat=True))


def test_calls_that_use_a_limit_up_are_told_of_threshold_by_threshold(dana: User) -> None:
    Limit.objects.filter(type__in=("demo", "monthly")).delete()
    Limit.objects.filter(type="daily").update(requests=20, pace_from=100)
    told = []
    for _ in range(20):
        (granted,) = reserve([hold(dana, estimate=Amounts(1, 0, 0))])
        thresholds.run(now=NOW)
        before = len(titles(dana))
        settle(granted.request_id, Amounts(1, 0, 0))
        thresholds.run(now=NOW)
        told.append(len(titles(dana)) - before)
    assert [number + 1 for number, new in enumerate(told) if new] == [10, 16, 19, 20]
    assert titles(dana)[0] == "50 % of your daily limit is used"
    assert titles(dana)[-1] == "Your daily limit is used up"
    first = inbox.of(dana.pk).order_by("pk")[0]
    assert "10 of 20 requests. It starts anew on 11 March at 00:00 (UTC)." in first.text
    assert [letter.subject for letter in sent()] == titles(dana)[1:]  # the first is not worth a mail


def test_each_threshold_is_told_once_a_period_and_the_highest_of_several(dana: User) -> None:
    row = allocation(owners.of_user(dana.pk))
    for requests, told in ((49, 0), (50, 1), (79, 1), (96, 2), (20, 2), (97, 2), (100, 3), (140, 3)):
        use(row, requests)
        thresholds.run(now=NOW)
        thresholds.run(now=NOW)
        assert len(titles(dana)) == told, requests
    assert titles(dana)[1] == "95 % of your daily limit is used"
    allocation(owners.of_user(dana.pk), "monthly", used_requests=60)
    Allocation.objects.filter(type="monthly").update(period_start=NOW + DAY, period_end=NOW + 2 * DAY)
    assert thresholds.run(now=NOW + DAY) == 1
    assert thresholds.run(now=NOW + 3 * DAY) == 0  # that period is over too


def test_a_demo_is_told_of_at_eighty_and_a_hundred(dana: User) -> None:
    row = allocation(owners.of_user(dana.pk), "demo", provider="openai")
    for requests in (50, 80, 95, 100):
        use(row, requests)
        thresholds.run(now=NOW)
    assert titles(dana) == ["Your demo of OpenAI is nearly used up", "Your demo of OpenAI is used up"]
    (first, _) = inbox.of(dana.pk).order_by("pk")
    assert (first.kind, first.link) == ("demo.ending", "/settings/api/")
    assert "Add a key of your own" in first.text


def test_a_soft_budget_is_told_of_when_it_is_passed(dana: User) -> None:
    row = allocation(owners.of_user(dana.pk), "daily_budget", soft=True, allowed_requests=None, allowed_cost=Decimal(2))
    for cost in ("1.90", "2.00", "9"):
        Allocation.objects.filter(pk=row.pk).update(used_cost=Decimal(cost))
        thresholds.run(now=NOW)
    (told,) = inbox.of(dana.pk)
    assert (told.kind, told.title) == ("budget.passed", "You went past your daily budget")
    assert "$2.00 of $2.00" in told.text


@pytest.mark.parametrize("whose", ["user", "team", "member", "token", "house"])
def test_whom_it_concerns_is_told(whose: str, alice: User, bob: User, charlie: User, team: Team) -> None:
    roles.assign(charlie, roles.Role.SUPER_ADMIN)
    token, _ = tokens.issue(user=bob, name="nightly")
    of: dict[str, tuple[Owner, User, str]] = {
        "user": (owners.of_user(bob.pk), bob, "Your daily limit is used up"),
        "team": (owners.of_team(team.pk), alice, "The daily limit of your team Alice's team is used up"),
        "member": (owners.of_member(team.pk, bob.pk), bob, "Your daily limit in the pool of Alice's team is used up"),
        "token": (owners.of_token(token.pk), bob, "The daily limit of your token “nightly” is used up"),
        "house": (Owner(HOUSE), charlie, "The house's daily limit for OpenAI is used up"),
    }
    owner, person, title = of[whose]
    allocation(owner, provider="openai" if whose == "house" else "", used_requests=100)
    assert thresholds.run(now=NOW) == 1
    (told,) = Notification.objects.all()
    assert (told.user, told.title) == (person, title)


def test_what_is_off_over_or_unlimited_is_not_told_of(dana: User) -> None:
    row = allocation(owners.of_user(dana.pk), used_requests=100)
    for facts in ({"is_active": False}, {"period_end": NOW}, {"allowed_requests": None}, {"allowed_requests": 0}):
        before = {name: getattr(row, name) for name in facts}
        Allocation.objects.filter(pk=row.pk).update(**facts)
        assert thresholds.run(now=NOW) == 0
        Allocation.objects.filter(pk=row.pk).update(**before)
    assert thresholds.run(now=NOW) == 1


def test_a_look_at_nothing_new_costs_one_question(dana: User, django_assert_num_queries: Callable[..., Any]) -> None:
    allocation(owners.of_user(dana.pk), used_requests=96)
    thresholds.run(now=NOW)
    with django_assert_num_queries(1):
        thresholds.run(now=NOW)
    assert thresholds.noted(Reached.objects.get().allocation_id) == 95
    assert thresholds.forget(now=NOW + DAY) == 0
    assert thresholds.forget(now=NOW + 2 * DAY) == 1


@pytest.mark.parametrize("dimension", ["requests", "tokens", "cost"])
def test_the_database_counts_as_the_code_does(dana: User, dimension: str) -> None:
    """For small, odd and the largest amounts, just below and at each threshold."""
    row = allocation(owners.of_user(dana.pk), allowed_requests=None)
    largest = 999_999_999 if dimension == "cost" else 10**15
    for top in (3, 7, 100, 333, largest):
        for one in THRESHOLDS:
            edge = -(-top * one // 100)
            for used in (edge - 1, edge):
                Reached.objects.all().delete()
                values = {f"used_{dimension}": used, f"allowed_{dimension}": top}
                Allocation.objects.filter(pk=row.pk).update(**values)
                found = sum(vars(one)["reached"] for one in thresholds._further(NOW))
                expected = due(percent_used({dimension: used}, {dimension: top}), 0, THRESHOLDS) or 0
                assert found == expected, values


@pytest.mark.once
@given(st.lists(st.integers(0, 250), max_size=12), st.sampled_from([THRESHOLDS, (80, 100), (100,)]))
def test_however_a_share_moves_each_threshold_comes_at_most_once_and_upwards(
    shares: list[int], wanted: tuple[int, ...]
) -> None:
    told, said = 0, []
    for share in shares:
        reached = due(share, told, wanted)
        if reached is not None:
            said.append(reached)
            told = reached
    assert said == sorted(set(said))
    assert (said[-1] if said else 0) == max((one for one in wanted if one <= max(shares, default=0)), default=0)
