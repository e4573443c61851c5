"""Tell people something: each as they want it, and each thing once.

Everything is rows in the transaction of what is told of: what is rolled back is not told, and what is committed is
delivered, whatever is killed in between.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction

from digitalme.notifications import letters, preferences, webhooks, workers
from digitalme.notifications.kinds import Channel, Kind
from digitalme.notifications.models import Level, Notification


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is told. `link` is a path on this site. With a `key` it is told each person once; without, each time.

    `template` names a letter of its own, `emails/NAME.txt`, and `context` what stands in it; else the mail says what
    the inbox says. What is not `mailed` goes by the other ways alone. `facts` are plain values for programs.
    Nothing in it may be a secret.
    """

    kind: Kind
    title: str
    text: str
    link: str = ""
    level: Level = Level.INFO
    key: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    template: str = "notification"
    context: Mapping[str, Any] = field(default_factory=dict)
    mailed: bool = True


@transaction.atomic
def tell(people: Iterable[UUID], message: Message, *, now: datetime) -> int:
    """Tell people, by the ways that each of them wants; return how many there were to whom it was new.

    Accounts that are disabled are told nothing. Mails and webhooks go out as soon as the transaction is committed.
    """
    new = [one for one in (_note(person, message, now) for person in _reachable(people, message)) if one]
    if not new:
        return 0
    channels = preferences.channels_for([one.user_id for one in new], message.kind)
    hidden = [one.pk for one in new if Channel.INBOX not in channels[one.user_id]]
    if hidden:
        Notification.objects.filter(pk__in=hidden).update(in_inbox=False)
    mailed = [one for one in new if message.mailed and Channel.MAIL in channels[one.user_id]]
    posted = [one for one in new if Channel.WEBHOOK in channels[one.user_id]]
    queued = letters.queue(mailed, message.template, message.context, now=now)
    if queued + webhooks.queue(posted, message.facts, now=now):
        transaction.on_commit(workers.deliver_soon)
    return len(new)


def _reachable(people: Iterable[UUID], message: Message) -> list[UUID]:
    """Return who has an active account and was not told yet, in a steady order."""
    there = get_user_model()._default_manager.filter(pk__in=set(people), is_active=True)
    if message.key:
        there = there.exclude(notifications__key=message.key)
    return list(there.order_by("pk").values_list("pk", flat=True))


def _note(person: UUID, message: Message, now: datetime) -> Notification | None:
    """Write the row; None if somebody else just did."""
    row = Notification(
        user_id=person,
        kind=message.kind,
        level=message.level,
        title=message.title[:200],
        text=message.text[:1000],
        link=message.link,
        key=message.key or str(uuid4()),
        created_at=now,
    )
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        return None
    return row
