"""Post events to webhooks: signed, through the guarded door only, again and again for a day, then no more."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from digitalme.errors import DigitalMeError, SecurityViolation
from digitalme.notifications import notices, retries, signing, webhooks
from digitalme.notifications.kinds import Kind
from digitalme.notifications.models import Delivery, Level, Webhook
from digitalme.notifications.notices import Message
from providers import addresses, outbound

TEST = "webhook.test"
AT_ONCE = 100
TIMEOUT_SECONDS = 5.0
# A run ends in time for the next, whatever the receivers do.
MOST_SECONDS = 15.0
# A webhook that took nothing for so long is switched off when the next event for it is given up.
LONGEST_FAILURE = timedelta(days=3)
KEPT = timedelta(days=30)
_GONE = 410
State = Delivery.State

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one try. `problem` is empty if the receiver took it."""

    status: int | None
    problem: str
    took_ms: int


def send_due(*, now: datetime, clock: Callable[[], float] = time.monotonic) -> int:
    """Post what is due; return how many events were taken by their receivers. Safe to run twice at once.

    A webhook that fails once is left alone for the rest of the run, so that one slow receiver costs the others one
    timeout. Who is killed over an event leaves it due again.
    """
    end, failed, total = clock() + MOST_SECONDS, set[UUID](), 0
    due = Delivery.objects.filter(state=State.WAITING, next_try_at__lte=now).select_related("webhook")
    for delivery in due.order_by("next_try_at")[:AT_ONCE]:
        if clock() >= end:
            break
        if delivery.webhook_id in failed or not _take(delivery, now):
            continue
        if _try(delivery, now):
            total += 1
        else:
            failed.add(delivery.webhook_id)
    return total


def test(webhook: Webhook, *, now: datetime | None = None) -> Delivery:  # noqa: PT028 (no test)
    """Post an event that says that it is a test, once and now; return what came of it. Blocking, for some seconds."""
    now = now or timezone.now()
    body = webhooks.written(TEST, {"title": "A test", "text": "This event was asked for by hand."}, now)
    made = Delivery(webhook=webhook, event=TEST, body=body, created_at=now, attempts=1)
    outcome = _post(made, now)
    made.state = State.FAILED if outcome.problem else State.DELIVERED
    _hear(made, outcome, now)
    made.save(force_insert=True)
    return made


def forget(*, now: datetime) -> int:
    """Delete what came of events that are older than the log is kept."""
    return Delivery.objects.filter(created_at__lt=now - KEPT).delete()[0]


def _take(delivery: Delivery, now: datetime) -> bool:
    same = Delivery.objects.filter(pk=delivery.pk, attempts=delivery.attempts, next_try_at=delivery.next_try_at)
    delivery.attempts += 1
    return bool(same.update(attempts=delivery.attempts, next_try_at=now + retries.CLAIM))


def _try(delivery: Delivery, now: datetime) -> bool:
    outcome = _post(delivery, now)
    if not outcome.problem:
        delivery.state, delivery.next_try_at = State.DELIVERED, None
        _note(delivery, outcome, now)
        Webhook.objects.filter(pk=delivery.webhook_id).exclude(failing_since=None).update(failing_since=None)
        return True
    gone = outcome.status == _GONE
    delivery.next_try_at = None if gone else retries.next_try(delivery.attempts, now)
    delivery.state = State.WAITING if delivery.next_try_at else State.FAILED
    with transaction.atomic():
        _note(delivery, outcome, now)
        _failed(delivery, gone, now)
    return False


def _post(delivery: Delivery, now: datetime) -> Outcome:
    began = time.monotonic()
    status, problem = None, ""
    body = delivery.body.encode()
    try:
        webhook = delivery.webhook
        headers = signing.headers(delivery.pk, body, signing.secret_of(webhook.pk), now=now)
        private = addresses.own_address(webhook.url).private
        answer = outbound.fetch(
            "POST",
            webhook.url,
            headers=headers,
            body=body,
            timeout=TIMEOUT_SECONDS,
            operator=private,
            max_bytes=1024,
            enough=lambda _read: True,
        )
        status = answer.status
        problem = "" if 200 <= status < 300 else _words(status)
    except DigitalMeError as refusal:
        problem = refusal.message.replace("The provider", "The receiver")
        if isinstance(refusal, SecurityViolation):
            log.warning("The webhook %s may not be reached.", delivery.webhook_id)
    return Outcome(status, problem[:200], int((time.monotonic() - began) * 1000))


def _words(status: int) -> str:
    if 300 <= status < 400:
        return f"It answered {status}, a redirect, which is never followed: enter the address that it leads to."
    return f"It answered {status}; 2xx is expected."


def _note(delivery: Delivery, outcome: Outcome, now: datetime) -> None:
    """Store what came of a try, unless the delivery was given up meanwhile."""
    _hear(delivery, outcome, now)
    Delivery.objects.filter(pk=delivery.pk, state=State.WAITING).update(
        state=delivery.state,
        next_try_at=delivery.next_try_at,
        answer_status=outcome.status,
        problem=outcome.problem,
        took_ms=outcome.took_ms,
        tried_at=now,
    )


def _hear(delivery: Delivery, outcome: Outcome, now: datetime) -> None:
    delivery.answer_status, delivery.problem, delivery.took_ms = outcome.status, outcome.problem, outcome.took_ms
    delivery.tried_at = now


def _failed(delivery: Delivery, gone: bool, now: datetime) -> None:
    """Note since when a webhook fails; tell its owner of an event that is given up, once a day, and switch it off if
    it is gone or failed for long."""
    webhook = Webhook.objects.select_for_update().get(pk=delivery.webhook_id)
    if webhook.failing_since is None:
        webhook.failing_since = now
        webhook.save(update_fields=["failing_since"])
    if delivery.state != State.FAILED or not webhook.is_active:
        return
    title, text = f"Your webhook “{webhook.name}” takes nothing", "An event was given up after a day of tries."
    if gone or webhook.failing_since <= now - LONGEST_FAILURE:
        webhook.is_active, webhook.ended = False, "It answered 410, gone." if gone else "It took nothing for days."
        webhook.save(update_fields=["is_active", "ended"])
        webhooks.give_up_waiting(webhook, webhook.ended)
        title, text = f"Your webhook “{webhook.name}” is switched off", f"{webhook.ended} Mend it and switch it on."
    message = Message(
        kind=Kind.WEBHOOK,
        level=Level.WARN,
        title=title,
        text=f"{text} The last outcome: {delivery.problem}",
        link="/settings/webhooks/",
        key=f"webhook:{webhook.pk}:{'' if webhook.is_active else 'off:'}{now:%Y-%m-%d}",
    )
    notices.tell([webhook.user_id], message, now=now)
