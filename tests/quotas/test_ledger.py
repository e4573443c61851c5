"""Reserve and settle on the database, through the ledger's front door."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db import transaction

from digitalme.accounts.models import Membership, Team, User
from digitalme.database import from_nano
from digitalme.statements import ask, carry_out, send
from quotas import ledger, limits
from quotas.ledger import Amounts, Caller, Granted, Refused
from quotas.models import Allocation, Lease, Limit, Tier
from tests.quotas.conftest import NOW, granted, hold, reserve, reserve_once, reserving, settle, settle_all

LATER = NOW + timedelta(minutes=2)


def used(user: User, kind: str, provider: str = "") -> tuple[int, int, int]:
    row = Allocation.objects.filter(user=user, type=kind, provider=provider).latest("period_start")
    return row.used_requests, row.used_tokens, int(row.used_cost * 10**9)


def test_a_hold_raises_every_counter_that_binds_it(dana: User) -> None:
    (outcome,) = reserve([hold(dana)])
    assert isinstance(outcome, Granted)
    assert used(dana, "demo", "openai") == used(dana, "daily") == used(dana, "monthly") == (1, 100, 5_000)
    assert used(dana, "fair_use") == (0, 0, 0)
    lease = Lease.objects.get(id=outcome.request_id)
    assert {str(one) for one in outcome.allocation_ids} == set(lease.allocations)
    assert (lease.reserved_requests, lease.reserved_tokens, lease.reserved_cost) == (1, 100, from_nano(5_000))
    assert (lease.created_at, lease.expires_at) == (NOW, NOW + timedelta(seconds=60))


def test_a_call_on_an_own_key_counts_as_fair_use_only(dana: User) -> None:
    (outcome,) = reserve([hold(dana, key_source="team")])
    assert isinstance(outcome, Granted)
    assert used(dana, "fair_use") == (1, 100, 5_000)
    assert used(dana, "demo", "openai") == (0, 0, 0)


def test_the_tightest_limit_is_named(dana: User) -> None:
    (outcome,) = reserve([hold(dana)])
    assert isinstance(outcome, Granted)
    limit = outcome.tightest
    assert limit
    assert (limit.type, limit.provider, limit.dimension, limit.allowed, limit.remaining) == (
        "demo",
        "openai",
        "requests",
        50,
        49,
    )


def test_a_batch_is_decided_in_order(dana: User) -> None:
    assert granted([hold(dana) for _ in range(60)]) == [True] * 50 + [False] * 10
    assert Lease.objects.count() == 50


def test_a_refusal_books_nothing_and_says_what_is_held(dana: User) -> None:
    reserve([hold(dana) for _ in range(50)])
    settle(Lease.objects.all()[0].id, Amounts(1, 10, 10))
    (outcome,) = reserve([hold(dana)])
    assert isinstance(outcome, Refused)
    limit = outcome.standing
    assert (limit.type, limit.dimension, limit.allowed, limit.used, outcome.held) == ("demo", "requests", 50, 50, 49)
    assert limit.resets_at == datetime(2026, 3, 11, tzinfo=UTC)
    assert (outcome.scope, outcome.passing, outcome.own_key) == ("user", True, False)
    assert used(dana, "demo", "openai")[0] == 50


def test_one_full_limit_refuses_although_the_others_have_room(dana: User) -> None:
    limits.set_allocation(actor=None, user=dana, provider="", type="monthly", tokens=150, now=NOW)
    assert granted([hold(dana), hold(dana)]) == [True, False]
    assert used(dana, "demo", "openai")[0] == 1


def test_a_smaller_call_still_fits_after_a_refused_one(dana: User) -> None:
    limits.set_allocation(actor=None, user=dana, provider="", type="monthly", tokens=150, now=NOW)
    assert granted([hold(dana), hold(dana), hold(dana, estimate=Amounts(1, 50, 0))]) == [True, False, True]


def test_people_of_one_batch_do_not_share_their_limits(make_user: Callable[..., User]) -> None:
    dana, emil = make_user("dana@example.com"), make_user("emil@example.com")
    both = [hold(dana if number % 2 else emil) for number in range(110)]
    assert granted(both).count(True) == 100
    assert used(dana, "demo", "openai")[0] == used(emil, "demo", "openai")[0] == 50


def test_each_provider_has_a_demo_of_its_own(dana: User) -> None:
    calls = [hold(dana, provider=slug) for slug in ("openai", "anthropic") for _ in range(51)]
    assert granted(calls).count(True) == 100


def test_settling_replaces_what_was_held(dana: User) -> None:
    call = hold(dana)
    reserve([call])
    settled = settle(call.request_id, Amounts(1, 30, 700))
    assert settled.found
    assert used(dana, "daily") == used(dana, "demo", "openai") == (1, 30, 700)
    assert not Lease.objects.exists()


def test_settling_twice_counts_once(dana: User) -> None:
    call = hold(dana)
    reserve([call])
    settle(call.request_id, Amounts(1, 30, 700))
    assert not settle(call.request_id, Amounts(1, 30, 700)).found
    assert used(dana, "daily") == (1, 30, 700)


def test_settling_twice_in_one_batch_counts_once(dana: User) -> None:
    call = hold(dana)
    reserve([call])
    found = settle_all([ledger.Settlement(call.request_id, Amounts(1, 30, 700))] * 2)
    assert [one.found for one in found] == [True, False]
    assert used(dana, "daily") == (1, 30, 700)


def test_an_unknown_call_settles_nothing(dana: User) -> None:
    assert not settle(uuid4(), Amounts(1, 30, 700)).found


def test_a_released_hold_leaves_no_trace(dana: User) -> None:
    call = hold(dana)
    reserve([call])
    settle(call.request_id, Amounts())
    assert used(dana, "daily") == (0, 0, 0)


def test_nothing_to_do_is_done(db: None) -> None:
    assert reserve([]) == []
    assert settle_all([]) == []
    assert ask(ledger.renew([], now=NOW)) == 0
    assert ledger.Posting().writes(now=NOW) == []
    ledger.ensure_periods([], now=NOW)


def test_a_renewed_lease_lives_on(dana: User) -> None:
    kept, lost = hold(dana), hold(dana)
    reserve([kept, lost])
    assert ask(ledger.renew([kept.request_id, uuid4()], now=NOW + timedelta(seconds=59))) == 1
    with transaction.atomic():
        (found,) = ask(ledger.expired(now=NOW + timedelta(seconds=60)))
    assert found.request_id == lost.request_id


def test_an_expired_lease_tells_all_that_is_known_of_its_call(dana: User) -> None:
    team = Team.objects.create(slug="danas", name="Dana's")
    Membership.objects.create(team=team, user=dana)
    call = hold(dana)._replace(token_id=uuid4(), team_id=team.id, credential_id=uuid4(), tag="nightly")
    (outcome,) = reserve([call])
    with transaction.atomic():
        (found,) = ask(ledger.expired(now=LATER))
    for name in ("request_id", "user_id", "token_id", "team_id", "credential_id", "provider", "model", "tag"):
        assert getattr(found, name) == getattr(call, name)
    assert (found.operation, found.key_source, found.created_at) == ("chat", "system", NOW)
    assert found.reserved == call.estimate
    assert isinstance(outcome, Granted)
    assert found.allocation_ids == outcome.allocation_ids


def test_no_more_leases_are_swept_at_once_than_asked_for(dana: User) -> None:
    reserve([hold(dana) for _ in range(5)])
    with transaction.atomic():
        assert len(ask(ledger.expired(now=LATER, limit=3))) == 3
        assert ask(ledger.expired(now=NOW)) == []


def test_a_late_settlement_adjusts_the_counters(dana: User) -> None:
    (outcome,) = reserve([hold(dana)])
    assert isinstance(outcome, Granted)
    posting = ledger.Posting()
    posting.adjust(outcome.allocation_ids, Amounts(0, -70, -4_300))
    with transaction.atomic():
        send(posting.writes(now=NOW))
    assert used(dana, "daily") == (1, 30, 700)


def test_a_new_day_begins_with_nothing_used(dana: User) -> None:
    assert granted([hold(dana) for _ in range(51)]).count(True) == 50
    tomorrow = datetime(2026, 3, 11, tzinfo=UTC)
    assert granted([hold(dana)], tomorrow - timedelta(microseconds=1)) == [False]
    assert granted([hold(dana)], tomorrow) == [True]
    assert used(dana, "demo", "openai")[0] == 1
    assert used(dana, "monthly")[0] == 51


def test_a_call_that_spans_midnight_is_settled_where_it_was_booked(dana: User) -> None:
    call = hold(dana)
    reserve([call])
    tomorrow = NOW + timedelta(days=1)
    reserve([hold(dana)], tomorrow)
    settle(call.request_id, Amounts(1, 30, 700), tomorrow)
    rows = Allocation.objects.filter(user=dana, type="daily").order_by("period_start")
    assert [(row.used_requests, row.used_tokens) for row in rows] == [(1, 30), (1, 100)]


def test_moving_through_time_zones_gives_nobody_a_second_day(dana: User) -> None:
    moment, count = NOW, 0
    for hours in range(24):
        dana.time_zone = f"Etc/GMT{(hours + 12) % 24 - 12:+d}"
        count += granted([hold(dana) for _ in range(51)], moment).count(True)
        moment += timedelta(hours=1)
    assert count <= 100


def test_a_row_that_is_deleted_lets_nothing_through_until_it_is_there_again(dana: User) -> None:
    reserve([hold(dana)])
    Allocation.objects.filter(user=dana, type="demo").delete()
    with pytest.raises(ledger.MissingPeriods) as missing:
        reserve_once([hold(dana)])
    assert missing.value.wanted == {Caller(dana.id, "openai")}
    assert Lease.objects.count() == 1
    ledger.ensure_periods(missing.value.wanted, now=NOW)
    assert isinstance(reserve_once([hold(dana)])[0], Granted)


def test_a_user_who_does_not_exist_reserves_nothing(dana: User) -> None:
    stranger = hold(dana)._replace(user_id=uuid4())
    ledger.ensure_periods([Caller(stranger.user_id, "openai")], now=NOW)
    with pytest.raises(ledger.MissingPeriods):
        reserve_once([stranger])


def test_a_warm_ledger_takes_three_statements(dana: User, django_assert_num_queries: Callable[..., object]) -> None:
    reserve([hold(dana)])
    with transaction.atomic(), django_assert_num_queries(3):  # type: ignore[attr-defined]
        ledger.ensure_periods([Caller(dana.id, "openai")], now=NOW)
        carry_out(reserving([hold(dana) for _ in range(32)]))


def test_a_limit_that_is_switched_off_binds_no_longer(dana: User) -> None:
    reserve([hold(dana) for _ in range(50)])
    Allocation.objects.filter(user=dana, type="demo").update(is_active=False)
    assert granted([hold(dana)]) == [True]


def test_a_tier_decides_what_its_users_may(dana: User) -> None:
    tier = Tier.objects.create(slug="tiny", name="Tiny")
    Limit.objects.create(tier=tier, type="demo", provider="*", requests=2)
    dana.tier = tier
    dana.save()
    assert granted([hold(dana) for _ in range(3)]) == [True, True, False]
    assert not Allocation.objects.filter(user=dana, type="daily").exists()


def test_without_any_tier_the_built_in_limits_hold(dana: User) -> None:
    Tier.objects.all().delete()
    assert granted([hold(dana) for _ in range(51)]).count(True) == 50
