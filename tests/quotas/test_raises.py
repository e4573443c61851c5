"""Raises: asked for and answered, in effect at once, over at their time without any job."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone
from hypothesis import given as given_by
from hypothesis import strategies as st

from digitalme.accounts import roles
from digitalme.accounts.models import User
from digitalme.accounts.roles import Role
from digitalme.audit.models import AuditEvent
from digitalme.errors import InvalidRequest, NotFound, QuotaExceeded
from digitalme.notifications import inbox
from quotas import allocations, known, limits, policy, raises, standing
from quotas.ledger import Amounts as Held
from quotas.models import Allocation, Limit, Raise
from quotas.raises import Amounts
from tests.quotas.conftest import NOW, at_full_speed, granted, hold

TODAY = date(2026, 3, 10)
END = datetime(2026, 3, 11, tzinfo=UTC)
FIVE = Amounts(requests=5)


def give(user: User, amounts: Amounts = FIVE, until: date = TODAY, **more: Any) -> Raise:
    facts: dict[str, Any] = {"type": "daily", "provider": "", "answer": "", "now": NOW, **more}
    return raises.give(actor=None, user=user, amounts=amounts, until=until, **facts)


def ask(user: User, **more: Any) -> Raise:
    facts: dict[str, Any] = {"type": "daily", "provider": "", "amounts": FIVE, "until": TODAY, "why": "A workshop"}
    return raises.ask(actor=user, **{**facts, "now": NOW, **more})


def tightened(user: User, type_: str = "monthly", **amounts: Any) -> None:
    limits.set_allocation(actor=None, user=user, provider="", type=type_, now=NOW, **amounts)


def test_it_holds_in_the_running_period_at_once_and_ends_with_its_last_moment(dana: User) -> None:
    tightened(dana, requests=2)
    assert granted([hold(dana) for _ in range(3)]) == [True, True, False]
    give(dana, type="monthly")
    last = END - timedelta(microseconds=1)
    assert granted([hold(dana) for _ in range(3)]) == [True, True, True]
    assert granted([hold(dana)], last) == [True]
    assert granted([hold(dana)], END) == [False]
    assert Allocation.objects.get(type="monthly").allowed_requests == 2
    assert Raise.objects.get().state == "ended"


def test_a_process_that_never_heard_of_it_ends_it_too(dana: User) -> None:
    tightened(dana, requests=1)
    assert granted([hold(dana)]) == [True]
    heard_before = dict(known._known)
    give(dana, type="monthly", amounts=Amounts(requests=100))
    known._known.update(heard_before)
    assert granted([hold(dana)], NOW + timedelta(seconds=59)) == [True]
    assert granted([hold(dana)], END) == [False]


def test_a_period_that_begins_while_it_lasts_has_it(dana: User) -> None:
    tightened(dana, "daily", requests=1)
    at_full_speed()
    give(dana, until=TODAY + timedelta(days=1))
    assert granted([hold(dana) for _ in range(7)], END).count(True) == 6
    assert granted([hold(dana) for _ in range(7)], END + timedelta(days=1)).count(True) == 1


def test_prepared_periods_have_it_only_while_it_lasts(dana: User) -> None:
    tightened(dana, "daily", requests=1)
    give(dana)
    granted([hold(dana)])
    allocations.prepare(now=END - timedelta(minutes=5), ahead=timedelta(minutes=15))
    row = Allocation.objects.get(type="daily", period_start=END)
    assert row.allowed_requests == 1


def test_days_end_where_the_person_is(dana: User) -> None:
    User.objects.filter(pk=dana.pk).update(time_zone="Pacific/Auckland")
    dana.refresh_from_db()
    given = give(dana, until=date(2026, 3, 11))
    assert given.ends_at == datetime(2026, 3, 11, 11, tzinfo=UTC)


def test_one_provider_of_a_limit_for_each_is_raised_alone(dana: User) -> None:
    give(dana, type="demo", provider="openai")
    assert granted([hold(dana) for _ in range(60)]).count(True) == 55
    assert granted([hold(dana, provider="anthropic") for _ in range(60)]).count(True) == 50


def test_pages_tell_it_is_over_before_any_call_did(dana: User) -> None:
    tightened(dana, requests=2)
    granted([hold(dana)])
    give(dana, type="monthly")

    def told(now: datetime) -> int | None:
        (found,) = [one for one in standing.standings(dana, now) if one.type == "monthly"]
        return found.allowed_requests

    assert (told(NOW), told(END)) == (7, 2)


def test_staff_ends_it_early(dana: User) -> None:
    tightened(dana, requests=1)
    running = give(dana, type="monthly")
    raises.end(actor=None, granted=running, now=NOW)
    assert granted([hold(dana), hold(dana)]) == [True, False]
    raises.end(actor=None, granted=running, now=NOW)
    assert AuditEvent.objects.filter(action="raise.ended").count() == 1


amounts = st.none() | st.integers(0, 10**12)


@given_by(st.lists(st.tuples(st.sampled_from(["", "openai"]), amounts, amounts), max_size=4), amounts, amounts)
def test_raises_add_up_and_never_take_away_nor_limit(
    given: list[tuple[str, int | None, int | None]], requests: int | None, tokens: int | None
) -> None:
    base = [
        Limit(type="daily", provider="", requests=requests, tokens=tokens),
        Limit(type="daily", provider="*", requests=requests, tokens=tokens),
    ]
    now = base
    for provider, more_requests, more_tokens in given:
        one = Raise(type="daily", provider=provider, extra_requests=more_requests, extra_tokens=more_tokens)
        now = policy.raised(now, one)
    for provider in ("", "openai", "anthropic"):
        spec = policy.spec_of(now, "daily", provider)
        assert spec
        own = [one for one in given if one[0] == provider]
        assert spec.requests == (None if requests is None else requests + sum(one[1] or 0 for one in own))
        assert spec.tokens == (None if tokens is None else tokens + sum(one[2] or 0 for one in own))
    assert policy.raised(base, Raise(type="monthly", provider="", extra_requests=1)) == base


def test_asking_tells_staff_and_the_answer_tells_the_person(
    dana: User, make_user: Callable[..., User], django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    root = make_user("root@example.com")
    roles.assign(root, Role.ADMIN)
    roles.assign(make_user("support@example.com"), Role.SUPPORT)
    with django_capture_on_commit_callbacks(execute=True):
        asked = ask(dana)
    assert [letter.to for letter in mail.outbox] == [["root@example.com"]]
    assert "A workshop" in str(mail.outbox[0].body)
    with django_capture_on_commit_callbacks(execute=True):
        raises.grant(actor=root, asked=asked, amounts=Amounts(requests=3), until=TODAY, answer="Enjoy", now=NOW)
    letter = mail.outbox[1]
    assert (letter.to, letter.subject) == ([dana.email], "You have more for a while: 3 requests")
    assert "10 March 2026 is their last day" in str(letter.body)
    assert "Enjoy" in str(letter.body)
    assert [one.kind for one in inbox.of(dana.pk)] == ["raise.answered"]
    assert [one.kind for one in inbox.of(root.pk)] == ["raise.asked"]
    told = AuditEvent.objects.get(action="raise.granted")
    assert told.facts == {"provider": "", "type": "daily", "requests": 3, "lifetime_days": 1}


WRONG: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"amounts": Amounts()}, InvalidRequest),
    ({"amounts": Amounts(requests=0)}, InvalidRequest),
    ({"amounts": Amounts(requests=-1)}, InvalidRequest),
    ({"amounts": Amounts(cost=Decimal("0.0000000001"))}, InvalidRequest),
    ({"amounts": Amounts(tokens=5)}, InvalidRequest),  # the daily limit bounds none
    ({"type": "weekly"}, InvalidRequest),
    ({"type": "demo", "provider": "*"}, InvalidRequest),
    ({"type": "demo", "provider": "nobody"}, InvalidRequest),
    ({"until": TODAY - timedelta(days=1)}, InvalidRequest),
    ({"until": TODAY + timedelta(days=367)}, InvalidRequest),
    ({"now": END - timedelta(minutes=4)}, InvalidRequest),
    ({"why": "  "}, InvalidRequest),
    ({"why": "x" * 501}, InvalidRequest),
]


@pytest.mark.parametrize(("wrong", "error"), WRONG)
def test_what_cannot_be_asked_for_is_refused(dana: User, wrong: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        ask(dana, **wrong)
    assert not Raise.objects.exists()
    assert not mail.outbox


def test_asking_is_bounded_and_answered_once(dana: User, make_user: Callable[..., User]) -> None:
    first = ask(dana)
    for _ in range(raises.MOST_OPEN - 1):
        ask(dana)
    with pytest.raises(InvalidRequest):
        ask(dana)
    raises.refuse(actor=None, asked=first, answer="No", now=NOW)
    for _ in range(2):
        raises.withdraw(actor=dana, raise_id=ask(dana).pk)
    with pytest.raises(QuotaExceeded) as refusal:
        ask(dana)
    assert refusal.value.data["retry_after"] == 86_401
    with pytest.raises(InvalidRequest):
        raises.grant(actor=None, asked=first, amounts=FIVE, until=TODAY, answer="", now=NOW)
    with pytest.raises(InvalidRequest):
        raises.refuse(actor=None, asked=first, answer="No", now=NOW)
    with pytest.raises(NotFound):
        raises.withdraw(actor=make_user("other@example.com"), raise_id=Raise.objects.filter(state="asked")[0].pk)


def form(**more: Any) -> dict[str, Any]:
    until = timezone.localdate() + timedelta(days=3)
    return {"decision": "grant", "extra_requests": "3", "until": until.isoformat(), "answer": "Fine", **more}


def asked_now(user: User) -> Raise:
    return ask(user, now=timezone.now(), until=timezone.localdate() + timedelta(days=9))


@pytest.mark.parametrize("role", [Role.SUPPORT, Role.ADMIN])
def test_admins_answer_in_the_admin_and_support_only_reads(
    dana: User, make_user: Callable[..., User], role: Role
) -> None:
    clerk, client = make_user("clerk@example.com"), Client()
    roles.assign(clerk, role)
    client.force_login(clerk)
    asked = asked_now(dana)
    page = f"/admin/quotas/raise/{asked.pk}/change/"
    assert "A workshop" in client.get(page).content.decode()
    answer = client.post(page, form(why="changed", user=clerk.pk, state="granted", asked_requests="99"))
    asked.refresh_from_db()
    if role is Role.SUPPORT:
        assert (answer.status_code, asked.state) == (403, "asked")
        assert client.get("/admin/quotas/raise/add/").status_code == 403
        return
    assert (asked.state, asked.extra_requests, asked.why, asked.user) == ("granted", 3, "A workshop", dana)
    assert asked.answered_by == clerk
    assert 'name="_save"' not in client.get(page).content.decode()
    client.post("/admin/quotas/raise/", {"action": "end_now", "_selected_action": [str(asked.pk)]})
    asked.refresh_from_db()
    assert asked.state == "ended"


def test_staff_refuses_with_a_reason_and_grants_unasked(dana: User, make_user: Callable[..., User]) -> None:
    client = Client()
    client.force_login(make_user("root@example.com", is_staff=True, is_superuser=True))
    page = f"/admin/quotas/raise/{asked_now(dana).pk}/change/"
    assert client.post(page, form(decision="refuse", answer=" ")).status_code == 200
    assert client.post(page, form(until="2020-01-01")).status_code == 200
    assert Raise.objects.get().state == "asked"
    assert client.post(page, form(decision="refuse", answer="Not now")).status_code == 302
    assert Raise.objects.get().answer == "Not now"
    given = client.post("/admin/quotas/raise/add/", form(user=dana.pk, type="daily", provider="", decision="refuse"))
    assert given.status_code == 302
    assert Raise.objects.filter(state="granted", user=dana, extra_requests=3).exists()


def test_settling_after_the_end_stays_exact(dana: User) -> None:
    tightened(dana, requests=1)
    give(dana, type="monthly")
    assert granted([hold(dana, estimate=Held(4, 0, 0))]) == [True]
    assert granted([hold(dana)], END) == [False]
    assert Allocation.objects.get(type="monthly").used_requests == 4
