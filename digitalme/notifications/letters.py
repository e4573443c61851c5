"""Mails: written with what they tell of, sent as soon as that stands, and tried again while no mail goes out."""

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string

from digitalme.notifications import retries
from digitalme.notifications.models import Letter, Notification

AT_ONCE = 100

log = logging.getLogger(__name__)


def queue(about: Iterable[Notification], template: str, context: Mapping[str, Any], *, now: datetime) -> int:
    """Write the letter `emails/TEMPLATE.txt` to each person who is told; return how many there are."""
    rows = [_written(one, template, context, now) for one in about]
    Letter.objects.bulk_create(rows)
    return len(rows)


def _written(about: Notification, template: str, context: Mapping[str, Any], now: datetime) -> Letter:
    link = f"{settings.SITE_URL}{about.link}" if about.link else ""
    whole = {"notification": about, "link": link, **context}
    subject = " ".join(render_to_string(f"emails/{template}.subject.txt", whole).split())
    body = render_to_string(f"emails/{template}.txt", whole).rstrip()
    ending = render_to_string("emails/ending.txt", {"place": f"{settings.SITE_URL}/settings/preferences/"})
    return Letter(notification=about, subject=subject[:300], body=f"{body}\n\n{ending}", next_try_at=now)


def send_due(*, now: datetime) -> int:
    """Send what is due; return how many letters went out. Safe to run twice at once: each letter is taken by one run.

    Who is killed over one leaves it due again; a letter can therefore come twice, but is never lost before it was
    tried for a day.
    """
    due = Letter.objects.filter(next_try_at__lte=now).select_related("notification__user").order_by("next_try_at")
    return sum(_take_and_send(letter, now) for letter in due[:AT_ONCE])


def _take_and_send(letter: Letter, now: datetime) -> bool:
    same = Letter.objects.filter(pk=letter.pk, attempts=letter.attempts, next_try_at=letter.next_try_at)
    if not same.update(attempts=letter.attempts + 1, next_try_at=now + retries.CLAIM):
        return False
    person = letter.notification.user
    sent = person.is_active and _send(letter, person.email)
    again = retries.next_try(letter.attempts + 1, now)
    if sent or again is None or not person.is_active:
        Letter.objects.filter(pk=letter.pk).delete()
        if person.is_active and not sent:
            log.error("The mail about notification %s was given up.", letter.notification_id)
    else:
        Letter.objects.filter(pk=letter.pk).update(next_try_at=again)
    return sent


def _send(letter: Letter, address: str) -> bool:
    try:
        EmailMessage(letter.subject, letter.body, to=[address]).send()
    except OSError as problem:  # those of SMTP among them
        log.warning("No mail could be sent about %s: %s", letter.notification_id, type(problem).__name__)
        return False
    return True
