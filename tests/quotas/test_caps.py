"""Whose limits bind a call beside the user's own: a token's cap, the house's, a team's pool, budgets on own keys."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from digitalme.accounts import tokens
from digitalme.accounts.models import Membership, Team, User
from digitalme.errors import InvalidRequest
from quotas import caps, known, limits, owners
from quotas.caps import Cap
from quotas.ledger import Amounts, Granted, Refused
from quotas.models import Allocation, Limit
from quotas.owners import Owner
from tests.quotas.conftest import NOW, granted, hold, reserve, settle

OWN = {"key_source": "user"}


@pytest.fixture
def emil(make_user: Callable[..., User]) -> User:
    return make_user("emil@example.com")


@pytest.fixture
def crew(dana: User, emil: User) -> Team:
    made = Team.objects.create(slug="crew", name="Crew")
    for user in (dana, emil):
        Membership.objects.create(team=made, user=user)
    return made


def put(owner: Owner, type: str, provider: str = "", *, per_member: bool = False, **cap: object) -> Limit:
    return caps.put(
        actor=None,
        owner=owner,
        type=type,
        provider=provider,
        cap=Cap(**cap),  # type: ignore[arg-type]
        per_member=per_member,
        now=NOW,
    )


def use_up_the_own(*users: User) -> None:
    for user in users:
        limits.set_allocation(actor=None, user=user, provider="", type="daily", requests=0, now=NOW)


def used(owner_id: UUID) -> list[int]:
    return [row.used_requests for row in Allocation.objects.filter(owner_id=owner_id).order_by("type")]


def refusal(outcome: Granted | Refused) -> tuple[str, str, str, str]:
    assert isinstance(outcome, Refused)
    limit = outcome.standing
    return outcome.scope, limit.type, limit.provider, limit.dimension


def test_a_tokens_cap_binds_its_own_calls_alone_on_whatever_key(dana: User) -> None:
    token, _ = tokens.issue(user=dana, name="nightly")
    other, _ = tokens.issue(user=dana, name="laptop")
    reserve([hold(dana, token_id=token.id), hold(dana, token_id=other.id)])  # both are warm
    put(owners.of_token(token.id), "daily", requests=2)
    calls = [hold(dana, token_id=one.id, **more) for more in ({}, OWN, {}) for one in (token, other)]
    outcomes = reserve(calls)
    assert [isinstance(one, Granted) for one in outcomes] == [True, True, True, True, False, True]
    assert refusal(outcomes[4]) == ("token", "daily", "", "requests")
    assert used(token.id) == [2]


def test_the_houses_cap_binds_everybody_together_and_no_own_key(dana: User, emil: User) -> None:
    reserve([hold(dana), hold(emil)])
    put(owners.THE_HOUSE, "monthly", "openai", requests=3)
    calls = [hold(dana), hold(emil), hold(emil, **OWN), hold(dana), hold(emil), hold(dana, provider="anthropic")]
    outcomes = reserve(calls)
    assert [isinstance(one, Granted) for one in outcomes] == [True, True, True, True, False, True]
    assert refusal(outcomes[4]) == ("house", "monthly", "openai", "requests")
    # What others' calls hold of it is told too.
    assert isinstance(outcomes[4], Refused)
    assert outcomes[4].held == 3


def test_a_member_draws_on_the_own_allowance_first_then_on_the_pool_within_the_members_cap(
    dana: User, emil: User, crew: Team
) -> None:
    limits.set_allocation(actor=None, user=dana, provider="", type="daily", requests=1, now=NOW)
    use_up_the_own(emil)
    reserve([hold(dana)])
    put(owners.of_team(crew.id), "monthly", requests=5)
    put(owners.of_team(crew.id), "monthly", per_member=True, requests=3)
    outcomes = reserve([hold(dana) for _ in range(4)])
    assert [isinstance(one, Granted) for one in outcomes] == [True, True, True, False]
    assert {one.pool for one in outcomes if isinstance(one, Granted)} == {crew.id}
    # The refusal names the person's own limit, which is what staff can raise.
    assert refusal(outcomes[3]) == ("user", "daily", "", "requests")
    assert granted([hold(emil) for _ in range(3)]) == [True, True, False]
    assert used(crew.id) == [5]
    assert used(owners.of_member(crew.id, dana.id).id) == [3]


def test_what_is_drawn_from_the_pool_is_settled_there(dana: User, crew: Team) -> None:
    use_up_the_own(dana)
    put(owners.of_team(crew.id), "daily", tokens=150)
    call = hold(dana)
    assert granted([call, hold(dana)]) == [True, False]
    settle(call.request_id, Amounts(1, 20, 0))
    assert granted([hold(dana)]) == [True]
    assert Allocation.objects.get(owner_id=crew.id).used_tokens == 120


def test_who_leaves_the_team_draws_no_more_and_who_joins_draws_at_once(dana: User, emil: User, crew: Team) -> None:
    use_up_the_own(dana, emil)
    put(owners.of_team(crew.id), "daily", requests=10)
    Membership.objects.filter(user=emil).delete()
    assert granted([hold(dana), hold(emil)]) == [True, False]
    Membership.objects.create(team=crew, user=emil)
    Membership.objects.filter(user=dana).delete()
    assert granted([hold(dana), hold(emil)]) == [False, True]


def test_a_teams_budget_binds_calls_on_the_teams_key(dana: User, crew: Team) -> None:
    reserve([hold(dana)])
    put(owners.of_team(crew.id), "daily_budget", cost=Decimal("0.000008"))
    team_key = {"key_source": "team", "team_id": crew.id}
    outcomes = reserve([hold(dana, **team_key), hold(dana, **team_key), hold(dana, **OWN), hold(dana)])
    assert [isinstance(one, Granted) for one in outcomes] == [True, False, True, True]
    assert refusal(outcomes[1]) == ("team", "daily_budget", "", "cost")


def test_a_hard_budget_on_own_keys_refuses_and_a_soft_one_says_that_it_is_passed(dana: User) -> None:
    me = owners.of_user(dana.id)
    put(me, "monthly_budget", "anthropic", requests=1)
    put(me, "monthly_budget", requests=1, soft=True)
    calls = [hold(dana, provider=slug, **OWN) for slug in ("openai", "anthropic", "anthropic")]
    first, second, third = reserve([*calls])
    assert isinstance(first, Granted)
    assert first.overspent is None
    assert isinstance(second, Granted)
    assert second.overspent
    assert (second.overspent.type, second.overspent.used) == ("monthly_budget", 2)
    assert refusal(third) == ("user", "monthly_budget", "anthropic", "requests")
    # Budgets stand beside what the tier allows on the house's keys.
    assert granted([hold(dana)]) == [True]


def test_all_must_pass_or_nothing_is_booked(dana: User, crew: Team) -> None:
    token, _ = tokens.issue(user=dana, name="nightly")
    put(owners.of_token(token.id), "daily", requests=5)
    put(owners.THE_HOUSE, "daily", requests=1)
    assert granted([hold(dana, token_id=token.id), hold(dana, token_id=token.id)]) == [True, False]
    assert used(token.id) == [1]
    assert set(Allocation.objects.filter(user=dana, binds="system").values_list("used_requests", flat=True)) == {1}


def test_a_cap_that_is_removed_binds_no_longer_and_only_its_owner_may_name_it(dana: User, emil: User) -> None:
    me = owners.of_user(dana.id)
    limit = put(me, "daily_budget", requests=0)
    assert granted([hold(dana, **OWN)]) == [False]
    assert not caps.remove(actor=None, owner=owners.of_user(emil.id), limit_id=limit.pk, now=NOW)
    assert caps.remove(actor=None, owner=me, limit_id=limit.pk, now=NOW)
    assert granted([hold(dana, **OWN)]) == [True]


def test_staffs_limits_are_no_budgets_that_a_user_may_remove(dana: User) -> None:
    limits.set_allocation(actor=None, user=dana, provider="", type="daily", requests=1, now=NOW)
    limit = Limit.objects.get(user=dana)
    assert not caps.of(owners.of_user(dana.id)).exists()
    assert not caps.remove(actor=dana, owner=owners.of_user(dana.id), limit_id=limit.pk, now=NOW)


@pytest.mark.parametrize(
    ("owner", "type", "per_member"),
    [
        (owners.of_user(UUID(int=1)), "daily", False),
        (owners.of_user(UUID(int=1)), "daily_budget", True),
        (owners.of_token(UUID(int=1)), "demo", False),
        (owners.THE_HOUSE, "daily_budget", False),
        (owners.of_team(UUID(int=1)), "monthly_budget", True),
    ],
)
def test_a_cap_that_its_owner_cannot_have_is_refused(db: None, owner: Owner, type: str, per_member: bool) -> None:
    with pytest.raises(InvalidRequest):
        put(owner, type, per_member=per_member, requests=1)


def test_a_teams_month_begins_in_the_zone_of_its_owner(dana: User, crew: Team) -> None:
    User.objects.filter(id=dana.id).update(time_zone="Asia/Tokyo")
    Membership.objects.filter(user=dana).update(role=Membership.Role.OWNER)
    put(owners.of_team(crew.id), "daily", requests=1)
    starts = Allocation.objects.get(owner_id=crew.id).period_start
    assert starts == datetime.fromisoformat("2026-03-09T15:00:00+00:00")


def test_a_new_day_begins_for_every_owner_once_and_adds_up_alike(dana: User, crew: Team) -> None:
    token, _ = tokens.issue(user=dana, name="nightly")
    use_up_the_own(dana)
    everybody = [owners.of_team(crew.id), owners.of_token(token.id), owners.THE_HOUSE]
    for one in everybody:
        put(one, "daily", requests=2)
    put(owners.of_team(crew.id), "daily", per_member=True, requests=2)
    bound = [*everybody, owners.of_member(crew.id, dana.id)]
    for day in range(3):
        now = NOW + timedelta(days=day)
        # A clock that goes back within the day, and a second look at the beginning, change nothing.
        for moment in (now, now - timedelta(hours=1), now):
            known.forget()
            granted([hold(dana, token_id=token.id)], moment)
        for one in bound:
            rows = Allocation.objects.filter(owner_id=one.id).order_by("period_start")
            assert [row.used_requests for row in rows] == [2] * (day + 1)


def test_a_token_that_is_replaced_in_traffic_gives_its_user_nothing_anew(dana: User) -> None:
    limits.set_allocation(actor=None, user=dana, provider="openai", type="demo", requests=3, now=NOW)
    old, _ = tokens.issue(user=dana, name="old")
    calls = [hold(dana, token_id=old.id), hold(dana, token_id=old.id)]
    assert granted(calls) == [True, True]
    new, _ = tokens.issue(user=dana, name="new")
    assert granted([hold(dana, token_id=new.id), hold(dana, token_id=new.id)]) == [True, False]
    for call in calls:
        assert settle(call.request_id, Amounts(1, 5, 5)).found
    assert granted([hold(dana, token_id=new.id)]) == [False]
