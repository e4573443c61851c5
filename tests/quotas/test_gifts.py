"""Gifts: moved exactly, out of what is left, to people and pools of the giver's teams, until the period ends."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from django.db import connection

from digitalme.accounts.models import Membership, Team, User
from digitalme.audit.models import AuditEvent
from digitalme.errors import DigitalMeError, InvalidRequest, NotFound, QuotaExceeded
from digitalme.notifications import inbox
from quotas import caps, gifts, limits, owners, raises
from quotas.caps import Cap
from quotas.models import Allocation, Gift, Limit
from quotas.owners import Owner
from quotas.raises import Amounts
from tests.quotas.conftest import NOW, at_full_speed, granted, hold, reserve


def allow(user: User, requests: int, type: str = "daily") -> None:
    limits.set_allocation(actor=None, user=user, provider="", type=type, requests=requests, now=NOW)
    limits.set_allocation(actor=None, user=user, provider="openai", type="demo", requests=10_000, now=NOW)
    at_full_speed()


def crew_of(*people: User) -> Team:
    made = Team.objects.create(slug="crew", name="Crew")
    for user in people:
        Membership.objects.create(team=made, user=user, role="owner" if user == people[0] else "member")
    return made


@pytest.fixture
def emil(make_user: Callable[..., User]) -> User:
    return make_user("emil@example.com")


@pytest.fixture
def crew(dana: User, emil: User) -> Team:
    for user in (dana, emil):
        allow(user, 10)
    return crew_of(emil, dana)


def give(actor: User, to: User | Owner, now: Any = NOW, **more: Any) -> Gift:
    given = {"requests": 4, **more}
    wanted = Amounts(given.pop("requests"), given.pop("tokens", None), given.pop("cost", None))
    owner = owners.of_user(to.pk) if isinstance(to, User) else to
    return gifts.give(actor=actor, to=owner, **{"type": "daily", "provider": "", **given}, amounts=wanted, now=now)


def row_of(owner: User | Owner) -> Allocation:
    id_ = owner.pk if isinstance(owner, User) else owner.id
    return Allocation.objects.get(owner_id=id_, type="daily", provider="", period_start__lte=NOW, period_end__gt=NOW)


def calls(user: User, number: int, now: Any = NOW) -> int:
    return sum(granted([hold(user) for _ in range(number)], now))


def test_what_one_gives_the_other_may_use_until_the_period_ends(dana: User, emil: User, crew: Team) -> None:
    reserve([hold(dana) for _ in range(3)])
    gift = give(dana, emil)
    assert (calls(dana, 9), calls(emil, 20)) == (3, 14)
    assert gift.ends_at == row_of(emil).period_end
    tomorrow = NOW + timedelta(days=1)
    assert (calls(dana, 20, tomorrow), calls(emil, 20, tomorrow)) == (10, 10)
    for user, words in ((dana, "You gave emil@example.com 4 requests"), (emil, "dana@example.com gave you 4 requests")):
        assert [one.title for one in inbox.of(user.pk)] == [words]
    event = AuditEvent.objects.get(action="gift.given")
    assert (event.actor, event.subject, event.facts["requests"]) == (f"user:{dana.pk}", f"user:{emil.pk}", 4)


def test_a_pool_takes_gifts_up_to_what_the_house_grants_it(dana: User, emil: User, crew: Team) -> None:
    whole = owners.of_team(crew.pk)
    with pytest.raises(InvalidRequest, match="no limit of this kind"):
        give(dana, whole)
    caps.put(actor=None, owner=whole, type="daily", provider="", cap=Cap(requests=5), now=NOW)
    give(dana, whole)
    with pytest.raises(InvalidRequest, match="own limit allows"):
        give(dana, whole, requests=2)
    at_full_speed()
    assert calls(emil, 30) == 10 + 5 + 4


@pytest.mark.parametrize(
    "more",
    [
        {"requests": 8},
        {"requests": 0},
        {"requests": None, "tokens": 1},
        {"type": "demo", "provider": "openai", "requests": 1},
        {"type": "fair_use", "requests": 1},
        {"type": "daily_budget", "requests": 1},
        {"provider": "*", "requests": 1},
        {"provider": "openai", "requests": 1},
        {"requests": -1},
    ],
    ids=str,
)
def test_what_is_not_left_or_cannot_be_given_is_refused(
    dana: User, emil: User, crew: Team, more: dict[str, Any]
) -> None:
    reserve([hold(dana) for _ in range(3)])  # running calls hold it
    before = Allocation.objects.filter(user=dana).values_list("type", "allowed_requests").order_by("pk")
    kept = list(before)
    with pytest.raises(InvalidRequest):
        give(dana, emil, **more)
    assert not Gift.objects.exists()
    assert list(before) == kept


def test_only_who_shares_a_team_is_reached_and_strangers_look_like_nobody(
    dana: User, emil: User, crew: Team, make_user: Callable[..., User]
) -> None:
    stranger = make_user("stranger@example.com")
    allow(stranger, 10)
    sentences = set()
    for address in ("stranger@example.com", "nobody@example.com", dana.email):
        with pytest.raises(NotFound) as refused:
            gifts.receiver_of(dana, email=address)
        sentences.add(refused.value.message)
    assert len(sentences) == 1
    assert gifts.receiver_of(dana, email="Emil@Example.com") == owners.of_user(emil.pk)
    for to in (owners.of_user(stranger.pk), owners.of_member(crew.pk, emil.pk), owners.THE_HOUSE):
        with pytest.raises(NotFound):
            give(dana, to)
    User.objects.filter(pk=emil.pk).update(is_active=False)
    with pytest.raises(NotFound):
        give(dana, emil)
    with pytest.raises(InvalidRequest):
        give(dana, dana)


def test_a_crowd_of_accounts_cannot_feed_one_and_nothing_received_goes_on(
    dana: User, emil: User, crew: Team, make_user: Callable[..., User]
) -> None:
    third = make_user("third@example.com")
    allow(third, 10)
    Membership.objects.create(team=crew, user=third)
    give(dana, emil, requests=6)
    with pytest.raises(InvalidRequest, match="own limit allows"):
        give(third, emil, requests=5)
    give(third, emil, requests=4)
    with pytest.raises(InvalidRequest, match="10 requests left"):
        give(emil, dana, requests=11)
    give(emil, dana, requests=10)
    with pytest.raises(InvalidRequest, match="0 requests left"):
        give(emil, third, requests=1)


def test_what_a_raise_adds_is_not_given_and_a_changed_limit_keeps_the_gift(dana: User, emil: User, crew: Team) -> None:
    until = (NOW + timedelta(days=1)).date()
    raises.give(actor=None, user=dana, type="daily", provider="", amounts=Amounts(50), until=until, answer="", now=NOW)
    with pytest.raises(InvalidRequest, match="10 requests left"):
        give(dana, emil, requests=11)
    give(dana, emil)
    limits.set_allocation(actor=None, user=emil, provider="", type="daily", requests=20, now=NOW)
    assert (row_of(dana).allowed_requests, row_of(emil).allowed_requests) == (56, 24)


def test_money_moves_to_the_billionth_and_a_month_given_away_carries_nothing_over(
    dana: User, emil: User, crew: Team
) -> None:
    amount = Decimal("0.123456789")
    give(dana, emil, type="monthly", requests=None, cost=amount)
    rows = {row.user_id: row for row in Allocation.objects.filter(type="monthly")}
    assert rows[dana.pk].allowed_cost == Decimal(10) - amount
    assert rows[emil.pk].allowed_cost == Decimal(10) + amount
    Limit.objects.filter(type="monthly").update(rollover_percent=100)
    reserve([hold(dana), hold(emil)], NOW + timedelta(days=31))
    following = Allocation.objects.filter(type="monthly", period_start__gt=NOW)
    assert {row.user_id: row.rollover_cost for row in following} == {dana.pk: Decimal(10) - amount, emil.pk: 10}
    ended = Allocation.objects.filter(type="monthly", period_start__lte=NOW)
    assert {row.user_id: row.allowed_cost for row in ended} == {dana.pk: 0, emil.pk: amount}


def test_one_person_gives_so_often_a_day(dana: User, emil: User, crew: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gifts, "MOST_A_DAY", 2)
    for _ in range(2):
        give(dana, emil, requests=1)
    with pytest.raises(QuotaExceeded) as refused:
        give(dana, emil, requests=1)
    assert refused.value.data["retry_after"] == 24 * 3600 + 1
    give(dana, emil, NOW + timedelta(days=1), requests=1)


@pytest.mark.django_db(transaction=True)
def test_gifts_in_a_crowd_amid_calls_keep_the_sum_and_nobody_uses_more_than_is_allowed() -> None:
    people = [User.objects.create_user(f"person{number}@example.com") for number in range(4)]
    for user in people:
        allow(user, 30)
    crew_of(*people)

    def work(seed: int) -> int:
        random, done = Random(seed), 0  # noqa: S311 (a shuffle, not a secret)
        try:
            for _ in range(4):
                one, other = random.sample(people, 2)
                try:
                    give(one, other, requests=random.randint(1, 9))
                    done += 1
                except DigitalMeError:
                    pass
                holds = [hold(random.choice(people)) for _ in range(4)]
                reserve(holds)
            return done
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as crowd:
        assert sum(crowd.map(work, range(4))) > 0
    rows = Allocation.objects.filter(type="daily", provider="")
    assert sum(row.allowed_requests or 0 for row in rows) == 4 * 30
    for row in rows:
        assert row.used_requests <= (row.allowed_requests or 0) == 30 + row.received_requests - row.given_requests
    assert sum(row.received_requests for row in rows) == sum(one.requests or 0 for one in Gift.objects.all())
