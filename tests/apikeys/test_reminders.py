"""Reminders by mail before a key expires or is to be replaced."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.core import mail
from hypothesis import given
from hypothesis import strategies as st

from apikeys import reminders
from apikeys.models import Credential
from apikeys.tasks import remind
from digitalme.accounts import roles
from digitalme.accounts.models import Team, User
from digitalme.notifications import inbox
from tests.apikeys.conftest import KEY, add_key
from tests.letters import sent

DAY = date(2027, 6, 15)


def at(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 8, tzinfo=UTC)


def days_with_mail(owner: User | Team | None, **end: Any) -> list[int]:
    """On which days before (or after) the end a mail goes out, when the job runs twice a day."""
    Credential.objects.filter(pk=add_key(owner).pk).update(**end)
    sent = []
    for left in range(20, -10, -1):
        for hour in (0, 12):
            if reminders.send(now=at(DAY - timedelta(days=left)) + timedelta(hours=hour)):
                sent.append(left)
    return sent


def test_a_mail_goes_out_fourteen_and_three_days_before_and_on_the_day(alice: User) -> None:
    assert days_with_mail(alice, rotate_by=DAY) == [14, 3, 0]
    assert [message.to for message in sent()] == [["alice@example.com"]] * 3
    assert [message.subject for message in mail.outbox] == [
        "OpenAI: your key is due in 14 days",
        "OpenAI: your key is due in 3 days",
        "OpenAI: your key is due today",
    ]
    assert list(inbox.of(alice.pk).values_list("kind", flat=True)) == ["key.expiring"] * 3
    text = str(mail.outbox[0].body)
    assert "Your OpenAI key is to be replaced by 15 June 2027" in text
    assert Credential.objects.get().fingerprint[:10] in text
    assert "/settings/api/" in text
    assert KEY not in text


def test_an_expiry_is_announced_as_what_it_is(alice: User) -> None:
    assert days_with_mail(alice, expires_at=datetime(2027, 6, 16, tzinfo=UTC)) == [14, 3, 0]
    sent()
    assert "15 June 2027 is its last day. After that it starts no call." in str(mail.outbox[0].body)


def test_the_earlier_end_counts(alice: User) -> None:
    assert days_with_mail(alice, expires_at=at(DAY + timedelta(days=300)), rotate_by=DAY) == [14, 3, 0]


def test_a_key_that_is_replaced_or_given_another_day_is_reminded_of_anew(alice: User) -> None:
    assert len(days_with_mail(alice, rotate_by=DAY)) == 3
    assert len(days_with_mail(alice, rotate_by=DAY)) == 3


def test_what_was_missed_is_made_up_for_once(alice: User) -> None:
    Credential.objects.filter(pk=add_key(alice).pk).update(rotate_by=DAY)
    late = at(DAY + timedelta(days=40))
    assert (reminders.send(now=late), reminders.send(now=late)) == (1, 0)
    assert sent()[0].subject == "OpenAI: your key was due on 15 June"


def test_a_teams_owners_and_those_who_manage_the_houses_keys_are_written_to(
    alice: User, bob: User, charlie: User, team: Team
) -> None:
    roles.assign(charlie, roles.Role.SUPER_ADMIN)
    assert len(days_with_mail(team, rotate_by=DAY)) == 3
    assert {address for message in sent() for address in message.to} == {"alice@example.com"}
    mail.outbox.clear()
    Credential.objects.all().delete()
    assert len(days_with_mail(None, rotate_by=DAY)) == 3
    assert {address for message in sent() for address in message.to} == {"charlie@example.com"}
    assert "this server's" in mail.outbox[0].subject


def test_nobody_is_written_to_about_a_key_that_is_off_or_has_no_end_or_of_who_is_gone(alice: User) -> None:
    assert days_with_mail(alice) == []
    assert days_with_mail(alice, rotate_by=DAY, is_active=False) == []
    User.objects.update(is_active=False)
    assert days_with_mail(alice, rotate_by=DAY) == []


def test_the_job_may_run_when_there_is_nothing_to_do(db: None) -> None:
    assert remind() == 0


@given(st.integers(-1000, 1000))
def test_the_stage_only_sinks_as_the_end_comes_nearer(left: int) -> None:
    now = reminders.stage(DAY, DAY - timedelta(days=left))
    later = reminders.stage(DAY, DAY - timedelta(days=left - 1))
    assert (now is None) == (left > 14)
    assert now is None or (later is not None and later <= now)
