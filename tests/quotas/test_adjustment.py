"""Dynamic adjustment: a bounded share of the tier's allowance, explained, overridable, audited."""

from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from digitalme.accounts.models import User
from digitalme.audit import log as trail
from digitalme.audit.actions import Action
from digitalme.audit.models import AuditEvent
from digitalme.gateway import conduct
from providers.outcomes import Category
from quotas import adjustment, limits, policy
from quotas.adjustment import Facts
from quotas.models import Adjustment, Tier
from tests.quotas.conftest import NOW, granted, hold, reserve
from usage.models import DailyUsage

COUNTS = st.integers(0, 10**6)
FACTS = st.builds(
    Facts, COUNTS, st.sampled_from(Adjustment.Payment.values), st.booleans(), st.integers(0, 30), COUNTS, COUNTS, COUNTS
)
GOOD = Facts(account_days=400, payment="paid", paying_tier=True, active_days=30)
BAD = Facts(account_days=1, payment="overdue", failed_validations=9, calls=1_000, refused=900)


@settings(deadline=None)
@given(FACTS)
def test_a_share_is_bounded_and_each_point_has_its_reason(facts: Facts) -> None:
    found = adjustment.reasons(facts)
    assert 50 <= adjustment.share(found) <= 150
    assert all(one.points and one.words.endswith(".") for one in found)


def test_a_newcomer_has_what_the_tier_says_and_conduct_counts_both_ways() -> None:
    assert adjustment.share(adjustment.reasons(Facts(account_days=0))) == 100
    assert adjustment.share(adjustment.reasons(GOOD)) == 140
    assert adjustment.share(adjustment.reasons(BAD)) == 50


def test_a_share_holds_at_once_for_the_tiers_allowance_alone(dana: User) -> None:
    reserve([hold(dana)])
    limits.set_allocation(actor=None, user=dana, provider="anthropic", type="demo", requests=4, now=NOW)
    assert adjustment.adjust({dana.id: BAD}, now=NOW) == 1
    assert adjustment.adjust({dana.id: BAD}, now=NOW) == 0
    assert granted([hold(dana) for _ in range(30)]).count(True) == 24
    assert granted([hold(dana, provider="anthropic") for _ in range(5)]).count(True) == 4
    assert granted([hold(dana, key_source="user") for _ in range(9)]).count(True) == 9
    event = AuditEvent.objects.get(action="limits.adjusted")
    assert (event.subject, event.facts) == (f"user:{dana.id}", {"percent": 50})


def test_no_share_takes_anybody_beyond_ten_thousand_requests(dana: User) -> None:
    dana.tier = Tier.objects.create(slug="wide", name="Wide")
    dana.save()
    dana.tier.limits.create(type="daily", requests=9_000)
    dana.tier.limits.create(type="monthly", requests=90_000)
    adjustment.adjust({dana.id: GOOD}, now=NOW)
    specs = {one.type: one.requests for one in policy.specs(policy.limits_for([dana.id])[dana.id], "openai")}
    assert specs == {"daily": 10_000, "monthly": 90_000}


def test_facts_come_from_accounts_records_and_the_trail(dana: User) -> None:
    now = timezone.now()
    User.objects.filter(id=dana.id).update(date_joined=now - timedelta(days=40))
    for day in range(20):
        at = (now - timedelta(days=day)).date()
        DailyUsage.objects.create(user_id=dana.id, day=at, provider="openai", requests=50, refused=10)
    for _ in range(3):
        trail.record(
            Action.CREDENTIAL_TESTED,
            target="provider:openai",
            actor=dana.id,
            subject=f"user:{dana.id}",
            category=Category.INVALID,
        )
    known = conduct.facts([dana.id], now=now)[dana.id]
    assert (known.account_days, known.active_days, known.failed_validations) == (40, 20, 3)
    assert (known.calls, known.refused) == (350, 70)
    assert conduct.adjust_limits(now=now) == 1
    assert Adjustment.objects.get(user=dana).effective == 95
    assert conduct.adjust_limits(now=now) == 0


@pytest.fixture
def staff(dana: User) -> Client:
    client = Client()
    client.force_login(User.objects.create_user("root@example.com", is_staff=True, is_superuser=True))
    return client


def test_staff_sets_a_share_with_a_reason_and_the_person_reads_it(dana: User, staff: Client) -> None:
    page = "/admin/quotas/adjustment/add/"
    form = {"user": str(dana.pk), "payment": "none", "override_percent": "60", "override_why": ""}
    assert "Say why" in staff.post(page, form).content.decode()
    assert staff.post(page, form | {"override_percent": "10", "override_why": "x"}).status_code == 200
    assert staff.post(page, form | {"override_why": "Too many retries."}).status_code == 302
    assert granted([hold(dana) for _ in range(40)], datetime.now(UTC)).count(True) == 30
    mine = Client()
    mine.force_login(dana)
    text = mine.get("/settings/usage/limits/").content.decode()
    assert "you get 60 %" in text
    assert "An administrator set it: Too many retries." in text
    assert "Too many retries." in staff.get(f"/admin/quotas/adjustment/{dana.pk}/change/").content.decode()
    told = mine.get("/api/v1/quotas/adjustment/").json()
    assert told == {"percent": 60, "reasons": ["An administrator set it: Too many retries."]}
    assert AuditEvent.objects.filter(action="limits.adjusted", subject=f"user:{dana.pk}").count() == 1
