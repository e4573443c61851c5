"""The emergency buffer: critical calls beyond a limit, by a share of it, a set number of times, each written down."""

import pytest
from django.utils import timezone

from digitalme.accounts.models import User
from digitalme.audit.models import AuditEvent
from quotas import emergencies, limits
from quotas.ledger import Amounts, Granted
from quotas.models import Allocation, EmergencyUse, Limit
from tests.quotas.conftest import NOW, granted, hold, reserve, settle

CRITICAL = {"critical": True}


@pytest.fixture
def spent(dana: User) -> User:
    """Dana, whose fifty calls of today are made."""
    calls = [hold(dana) for _ in range(50)]
    reserve(calls)
    for call in calls:
        settle(call.request_id, Amounts(1, 1, 1))
    return dana


def test_critical_calls_go_beyond_a_limit_a_set_number_of_times(spent: User) -> None:
    outcomes = reserve([hold(spent, **more) for more in (CRITICAL, {}, CRITICAL, CRITICAL, CRITICAL)])
    assert [isinstance(one, Granted) for one in outcomes] == [True, False, True, True, False]
    assert all(one.emergency for one in outcomes if isinstance(one, Granted))
    row = Allocation.objects.get(user=spent, type="demo")
    assert (row.used_requests, row.buffer_used) == (53, 3)


def test_the_buffer_is_a_share_of_the_limit(spent: User) -> None:
    Limit.objects.filter(type="demo").update(buffer_percent=4, buffer_uses=9)
    limits.hold_at_once([spent.id], now=NOW)
    assert granted([hold(spent, **CRITICAL) for _ in range(3)]) == [True, True, False]


def test_a_critical_call_that_fits_uses_no_buffer(dana: User) -> None:
    (outcome,) = reserve([hold(dana, **CRITICAL)])
    assert isinstance(outcome, Granted)
    assert not outcome.emergency
    assert not EmergencyUse.objects.exists()


def test_budgets_and_caps_have_no_buffer_unless_it_is_given(dana: User) -> None:
    limits.set_allocation(actor=None, user=dana, provider="", type="fair_use", requests=0, now=NOW)
    assert granted([hold(dana, key_source="user", **CRITICAL)]) == [False]


def test_a_critical_call_is_not_slowed_while_there_are_uses(dana: User) -> None:
    limits.set_allocation(actor=None, user=dana, provider="", type="daily", requests=40, now=NOW)
    outcomes = reserve([hold(dana) for _ in range(40)])
    slow = sum(not isinstance(one, Granted) for one in outcomes)
    assert slow
    first, *_, last = reserve([hold(dana, **CRITICAL) for _ in range(4)])
    assert isinstance(first, Granted)
    assert first.emergency
    assert not isinstance(last, Granted)


def test_each_use_is_in_the_trail_once_however_often_the_job_runs(spent: User) -> None:
    reserve([hold(spent, **CRITICAL), hold(spent, **CRITICAL)])
    now = timezone.now()
    assert [emergencies.write_down(now=now), emergencies.write_down(now=now)] == [2, 0]
    events = AuditEvent.objects.filter(action="emergency.used")
    row = Allocation.objects.get(user=spent, type="demo")
    assert {(one.target, one.subject, one.actor_kind) for one in events} == {
        (f"allocation:{row.pk}", f"user:{spent.pk}", "gateway")
    }
    assert events.count() == 2
