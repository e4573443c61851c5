"""People are told each thing once, by the ways that they want, whatever dies or is down meanwhile."""

import smtplib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.db import transaction
from hypothesis import given
from hypothesis import strategies as st
from kombu.exceptions import KombuError

from digitalme.accounts.models import User
from digitalme.notifications import inbox, letters, notices, preferences, retention, retries, workers
from digitalme.notifications.kinds import Channel, Kind
from digitalme.notifications.models import Letter, Notification
from digitalme.notifications.notices import Message
from tests.letters import sent

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


def message(**facts: Any) -> Message:
    given: dict[str, Any] = {"kind": Kind.QUOTA, "title": "Half is gone", "text": "Half of your daily limit is used."}
    return Message(**{**given, "link": "/settings/usage/", **facts})


def tell(*people: User, **facts: Any) -> int:
    return notices.tell([one.pk for one in people], message(**facts), now=NOW)


def choose(user: User, *wanted: Channel, kind: Kind = Kind.QUOTA) -> None:
    preferences.choose(user.pk, [(kind, channel) for channel in wanted], among=[kind])


def test_it_is_in_the_inbox_and_in_a_mail_that_says_where_to_go(alice: User) -> None:
    assert tell(alice) == 1
    (told,) = inbox.of(alice.pk)
    assert (told.title, told.read_at) == ("Half is gone", None)
    (letter,) = sent()
    assert (letter.to, letter.subject) == ([alice.email], "Half is gone")
    assert "Half of your daily limit is used.\n\nhttp://127.0.0.1:8000/settings/usage/" in str(letter.body)
    assert "/settings/preferences/" in str(letter.body)
    assert not Letter.objects.exists()


def test_what_has_a_key_is_told_each_person_once_and_the_rest_each_time(alice: User, bob: User) -> None:
    assert [tell(alice, key="daily:50"), tell(alice, bob, key="daily:50"), tell(alice, key="daily:80")] == [1, 1, 1]
    assert [tell(alice), tell(alice)] == [1, 1]
    assert inbox.of(alice.pk).count() == 4
    assert inbox.of(bob.pk).count() == 1


@pytest.mark.parametrize("wanted", [(), (Channel.INBOX,), (Channel.MAIL,), (Channel.INBOX, Channel.MAIL)])
def test_preferences_decide_by_which_ways(alice: User, wanted: tuple[Channel, ...]) -> None:
    choose(alice, *wanted)
    assert tell(alice, key="once") == 1
    assert inbox.of(alice.pk).count() == (Channel.INBOX in wanted)
    assert len(sent()) == (Channel.MAIL in wanted)
    choose(alice, *Channel)
    assert tell(alice, key="once") == 0


def test_preferences_of_one_kind_or_person_are_no_others(alice: User, bob: User) -> None:
    choose(alice)
    assert tell(alice, kind=Kind.SPEND) == 1
    tell(bob)
    assert [letter.to for letter in sent()] == [[alice.email], [bob.email]]


def test_a_disabled_account_is_told_nothing_and_gets_no_mail_that_was_on_its_way(alice: User, bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert tell(alice, bob) == 1
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert sent() == []
    assert not Letter.objects.exists()


def test_what_is_rolled_back_is_told_to_nobody(alice: User) -> None:
    with transaction.atomic():
        tell(alice, key="never happened")
        transaction.set_rollback(True)
    assert sent() == []
    assert tell(alice, key="never happened") == 1


@pytest.mark.django_db(transaction=True)
def test_a_mail_leaves_as_soon_as_what_it_tells_of_stands(alice: User) -> None:
    with transaction.atomic():
        tell(alice)
        assert mail.outbox == []
    assert len(mail.outbox) == 1


def test_a_mail_does_not_wait_for_a_broker_that_is_away(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_name: str) -> None:
        raise KombuError

    monkeypatch.setattr(workers, "signature", refuse)
    workers.deliver_soon()
    tell(alice)
    assert len(sent()) == 1


def test_a_worker_that_dies_over_a_mail_leaves_it_to_the_next(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_letter: EmailMessage) -> int:
        raise KeyboardInterrupt

    tell(alice)
    with monkeypatch.context() as patch:
        patch.setattr(EmailMessage, "send", killed)
        with pytest.raises(KeyboardInterrupt):
            letters.send_due(now=NOW)
    assert letters.send_due(now=NOW) == 0  # whoever took it may still be at it
    assert letters.send_due(now=NOW + retries.CLAIM) == 1
    assert len(mail.outbox) == 1


def test_a_mail_that_cannot_be_sent_is_tried_for_a_day_and_holds_nobody_up(
    alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, tried = EmailMessage.send, []

    def fails_for_alice(letter: EmailMessage) -> int:
        if letter.to == [alice.email]:
            tried.append(letter)
            raise smtplib.SMTPException("canary")
        return send(letter)

    monkeypatch.setattr(EmailMessage, "send", fails_for_alice)
    tell(alice, bob)
    now = NOW
    assert letters.send_due(now=now) == 1
    while waiting := Letter.objects.first():
        now = waiting.next_try_at
        letters.send_due(now=now)
    assert len(tried) == 8
    assert timedelta(hours=23) < now - NOW < timedelta(hours=25)


@pytest.mark.once
@given(st.integers(1, 20))
def test_waits_grow_until_it_is_given_up(attempts: int) -> None:
    after = retries.next_try(attempts, NOW)
    assert (after is None) == (attempts >= 8)
    if after and attempts > 1:
        before = retries.next_try(attempts - 1, NOW)
        assert before is not None
        assert NOW < before <= after


def test_the_inbox_keeps_for_a_year(alice: User) -> None:
    tell(alice, key="old")
    assert retention.forget(now=NOW + retention.KEPT) == 0
    assert retention.forget(now=NOW + retention.KEPT + timedelta(seconds=1)) == 1
    assert not Notification.objects.exists()


def test_one_telling_takes_as_many_questions_for_many_ways_as_for_one(
    alice: User, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    with django_assert_max_num_queries(9):
        tell(alice, key="cheap")
    with django_assert_max_num_queries(3):  # somebody who knows already costs one question
        tell(alice, key="cheap")
