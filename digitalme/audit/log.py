"""Write the trail: one event for each change, in the transaction of the change itself."""

import logging
from datetime import datetime
from typing import Any
from uuid import UUID

from celery import current_task
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from digitalme.audit import actions, chain, context
from digitalme.audit.actions import Action, ActorKind
from digitalme.audit.models import AuditEvent, AuditHead
from digitalme.errors import AuditUnavailable
from digitalme.material import UnusableKey

# How long a change waits for others that are being written down.
WAIT_SECONDS = 5
_UNWRITABLE = "This cannot be done now, because it could not be written down in the audit trail. Try again shortly."

log = logging.getLogger(__name__)


def begin() -> None:
    """Make the head of an empty trail. One that holds events and lost its head stays without: that is tampering."""
    if not AuditHead.objects.exists() and not AuditEvent.objects.exists():
        head = AuditHead()
        head.mac = chain.seal(head)
        AuditHead.objects.bulk_create([head], ignore_conflicts=True)


def record(
    action: Action,
    *,
    target: str,
    subject: str = "",
    actor: UUID | None = None,
    kind: ActorKind | None = None,
    now: datetime | None = None,
    **facts: Any,
) -> AuditEvent:
    """Write one event down; call it last in the transaction of the change, because until that ends
    everybody else's changes wait.

    `target` is "kind:id" of what it happened to, `subject` "user:ID", "team:ID" or "system" for whom.
    Without `actor` it was whoever is signed in to the present request, else a command, a job or a
    stranger; address and request id come from the request too. `facts` are of actions.ALLOWED.

    Raises AuditUnavailable, and sees to it that the change is rolled back, if the event cannot be
    written; RuntimeError outside of a transaction; ValueError for what may not be kept.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("An audit event is written in the transaction of the change that it tells of.")
    known = actions.facts_of(facts)
    try:
        event = _event(action, target, subject, actor, kind, known)
        event.at = _to_milliseconds(now or timezone.now())
        _append(event)
    except (DatabaseError, UnusableKey, AuditUnavailable) as problem:
        # Whoever catches this must not keep half of it.
        transaction.set_rollback(True)
        log.error("audit event not written action=%s problem=%s", action, problem)
        raise AuditUnavailable(_UNWRITABLE) from problem
    return event


def _event(
    action: Action, target: str, subject: str, actor: UUID | None, kind: ActorKind | None, facts: dict[str, Any]
) -> AuditEvent:
    if not actions.is_place(target) or (subject and not actions.is_place(subject)):
        raise ValueError("The audit trail names things by their kind and an id of ours.")
    origin = context.current()
    who = actor or (_signed_in(origin) if kind is None else None)
    return AuditEvent(
        actor_kind=kind or (ActorKind.USER if who else _kind(origin)),
        actor=f"user:{who}" if who else "",
        action=Action(action).value,
        target=target,
        subject=subject,
        address=origin.address if origin else "",
        request_id=_request_id(origin) if origin else "",
        facts=facts,
    )


def _request_id(origin: context.Origin) -> str:
    return origin.request_id if origin.own_id else chain.reference(origin.request_id)


def _signed_in(origin: context.Origin | None) -> UUID | None:
    person = origin.person() if origin else None
    return person.pk if person is not None and person.is_authenticated else None


def _kind(origin: context.Origin | None) -> ActorKind:
    if current_task:
        return ActorKind.TASK
    return ActorKind.VISITOR if origin else ActorKind.COMMAND


def _append(event: AuditEvent) -> None:
    head = locked_head()
    event.sequence, event.previous = head.sequence + 1, head.hash
    event.hash = chain.digest(event)
    event.save(force_insert=True)
    head.sequence, head.hash = event.sequence, event.hash
    save_head(head)


def locked_head() -> AuditHead:
    """Return the head, locked until the transaction ends. Raises AuditUnavailable if it is gone or not ours:
    to go on from there would make good what somebody did to it."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{WAIT_SECONDS}s"])
    head = AuditHead.objects.select_for_update().filter(id=1).first()
    if head is None or not chain.same(head.mac, chain.seal(head)):
        raise AuditUnavailable("The head of the audit trail is missing or was altered; see manage.py verify_audit.")
    return head


def save_head(head: AuditHead) -> None:
    """Store both ends of the trail with their proof."""
    head.mac = chain.seal(head)
    head.save(update_fields=["sequence", "hash", "anchor_sequence", "anchor_hash", "purging_through", "mac"])


def _to_milliseconds(moment: datetime) -> datetime:
    """Cut what a dump as JSON would cut, or an event that moved to another database would look altered."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
