"""Addresses to which people have their events posted."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import QuerySet

from digitalme.audit import log as trail
from digitalme.audit.actions import Action
from digitalme.errors import InvalidRequest, NotFound
from digitalme.notifications.models import Delivery, Notification, Webhook
from providers import addresses

MOST = 10
MAX_NAME, MAX_URL = 100, 500
State = Delivery.State


def of(user_id: UUID) -> QuerySet[Webhook]:
    """Return somebody's webhooks, by name."""
    return Webhook.objects.filter(user_id=user_id)


def find(user_id: UUID, webhook_id: UUID) -> Webhook:
    """Return one of somebody's webhooks. Raises NotFound."""
    found = of(user_id).filter(pk=webhook_id).first()
    if found is None:
        raise NotFound("You have no such webhook.")
    return found


def create(*, user_id: UUID, url: str, name: str, now: datetime) -> Webhook:
    """Make a webhook whose address stays as it is for good; apikeys.webhook_secrets.add calls this, gives it a secret
    and writes it down, all in one transaction.

    Raises SecurityViolation for an address that may not be reached (providers.addresses.own_address), and
    InvalidRequest for one webhook or a name too many.
    """
    name = " ".join(name.split())
    if not 1 <= len(name) <= MAX_NAME:
        raise InvalidRequest(f"Give it a name of up to {MAX_NAME} characters.", field="name")
    if len(url) > MAX_URL:
        raise InvalidRequest(f"An address has up to {MAX_URL} characters.", field="url")
    addresses.own_address(url)
    get_user_model()._default_manager.select_for_update().get(pk=user_id)
    if of(user_id).count() >= MOST:
        raise InvalidRequest(f"One person may have up to {MOST} webhooks. Remove one of yours.")
    return Webhook.objects.create(user_id=user_id, name=name, url=url, created_at=now)


@transaction.atomic
def switch(webhook: Webhook, *, on: bool) -> None:
    """Have events posted to it, or not. What waits for one that is switched off is given up."""
    webhook.is_active, webhook.ended, webhook.failing_since = on, "", None
    webhook.save(update_fields=["is_active", "ended", "failing_since"])
    if not on:
        give_up_waiting(webhook, "The webhook was switched off.")
    record(Action.WEBHOOK_ENABLED if on else Action.WEBHOOK_DISABLED, webhook)


@transaction.atomic
def remove(webhook: Webhook) -> None:
    """Remove a webhook with its log."""
    gone = Webhook(pk=webhook.pk, user_id=webhook.user_id)
    webhook.delete()
    record(Action.WEBHOOK_REMOVED, gone)


def give_up_waiting(webhook: Webhook, why: str) -> None:
    """Have nothing more tried that waits for it."""
    waiting = Delivery.objects.filter(webhook=webhook, state=State.WAITING)
    waiting.update(state=State.FAILED, next_try_at=None, problem=why)


def record(action: Action, webhook: Webhook) -> None:
    """Write into the audit trail what happened to a webhook; its address is not kept there."""
    trail.record(action, target=f"webhook:{webhook.pk}", subject=f"user:{webhook.user_id}")


def queue(about: Iterable[Notification], facts: Mapping[str, Any], *, now: datetime) -> int:
    """Put an event for each of these on its way to each webhook of who is told; return how many that are."""
    told = {one.user_id: one for one in about}
    there = Webhook.objects.filter(user_id__in=told, is_active=True) if told else []
    rows = [
        Delivery(
            webhook=one,
            event=told[one.user_id].kind,
            body=body_of(told[one.user_id], facts),
            next_try_at=now,
            created_at=now,
        )
        for one in there
    ]
    Delivery.objects.bulk_create(rows)
    return len(rows)


def body_of(told: Notification, facts: Mapping[str, Any]) -> str:
    """Return an event as it is posted."""
    link = f"{settings.SITE_URL}{told.link}" if told.link else ""
    plain = {"id": str(told.pk), "level": told.level, "title": told.title, "text": told.text, "link": link}
    return written(told.kind, plain | {"facts": dict(facts)}, told.created_at)


def written(event: str, data: Mapping[str, Any], at: datetime) -> str:
    """Return the JSON of an event; whatever JSON has no word for, such as an amount of money, is text."""
    return json.dumps({"type": event, "timestamp": at.isoformat(), "data": data}, default=str, ensure_ascii=False)
