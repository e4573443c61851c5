"""Models without a price: staff is told, once each."""

from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client

from digitalme.accounts.models import User
from digitalme.accounts.roles import Role, assign
from digitalme.notifications.models import Notification
from tests.usage.test_exports import keep
from tests.usage.test_recorder import a_record
from usage import tasks, unpriced

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


def test_staff_is_told_of_each_model_once(alice: User, bob: User, charlie: User) -> None:
    assign(bob, Role.ADMIN)
    assign(charlie, Role.SUPPORT)
    keep(*[a_record(cost=None, model=f"new-{name}", timestamp=NOW) for name in "aab"], a_record(timestamp=NOW))
    keep(a_record(cost=None, model="long ago", timestamp=NOW - timedelta(hours=2)))
    assert (unpriced.tell(now=NOW), unpriced.tell(now=NOW)) == (2, 0)
    told = Notification.objects.order_by("title")
    assert [(one.user_id, one.title) for one in told] == [
        (bob.pk, "No price is known of openai new-a"),
        (bob.pk, "No price is known of openai new-b"),
    ]
    assert told[0].link == "/admin/providers/modelprice/add/?provider=openai&model=new-a"
    assert tasks.tell_of_unpriced() == 0


def test_a_caller_who_makes_up_names_does_not_flood_anybody(bob: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpriced, "MOST_AT_ONCE", 3)
    assign(bob, Role.SUPER_ADMIN)
    keep(*[a_record(cost=None, model=f"x\n{number}", timestamp=NOW) for number in range(5)])
    assert [unpriced.tell(now=NOW) for _ in range(3)] == [3, 2, 0]
    assert not [one for one in Notification.objects.all() if "\n" in one.title]


def test_staff_looks_at_the_unpriced_calls_alone(admin_client: Client) -> None:
    keep(a_record(cost=None, model="unknown", timestamp=NOW), a_record(cost=0, model="free", timestamp=NOW))
    text = admin_client.get("/admin/usage/usagerecord/?cost__isempty=1").content.decode()
    assert "Unpriced" in text
    assert "unknown" in text
    assert ">free<" not in text
