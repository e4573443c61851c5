"""What webhooks sign with: made here, shown once, sealed like any key, and opened where an event is signed."""

import base64
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from apikeys import masters, sealed_rows, vault
from apikeys.models import OwnerSalt, WebhookSecret
from apikeys.vault import CredentialUnreadable
from digitalme.accounts.models import User
from digitalme.audit.actions import Action
from digitalme.notifications import signing, webhooks
from digitalme.notifications.models import Webhook
from providers.secrets import Secret

_FIELD = "secret"


@sensitive_variables("text")
def add(*, user: User, url: str, name: str, now: datetime) -> tuple[Webhook, str]:
    """Make a webhook, and return it with its secret, which is told this once.

    Raises as notifications.webhooks.create, and AuditUnavailable, having made nothing.
    """
    text, salt = signing.new_secret(), _salt(user)
    with transaction.atomic():
        made = webhooks.create(user_id=user.pk, url=url, name=name, now=now)
        _seal(WebhookSecret(webhook=made, salt=salt, version=0), made, text)
        webhooks.record(Action.WEBHOOK_ADDED, made)
    return made, text


@sensitive_variables("text")
def renew(*, user: User, webhook: Webhook) -> str:
    """Give a webhook another secret, with which it signs from now on, and return that; it is told this once."""
    text, salt = signing.new_secret(), _salt(user)
    with transaction.atomic():
        row = WebhookSecret.objects.select_for_update(of=("self",)).filter(webhook=webhook).first()
        _seal(row or WebhookSecret(webhook=webhook, salt=salt, version=0), webhook, text)
        webhooks.record(Action.WEBHOOK_SECRET_CHANGED, webhook)
    return text


def opened(webhook_id: UUID) -> Secret:
    """Return the secret of a webhook. Raises CredentialUnreadable."""
    row = WebhookSecret.objects.filter(webhook=webhook_id).select_related("salt").first()
    if row is None:
        raise CredentialUnreadable(webhook_id)
    found = sealed_rows.opened(row)
    if _FIELD not in found:
        raise CredentialUnreadable(row.id)
    return found[_FIELD]


def _salt(user: User) -> OwnerSalt:
    """Return the owner's salt, with the key that is made of it at hand: to derive it takes a moment that nobody else
    should wait for."""
    owner = f"user:{user.pk}"
    salt, _ = OwnerSalt.objects.get_or_create(owner=owner, defaults={"salt": vault.new_salt()})
    vault.warm_up(owner, bytes(salt.salt))
    return salt


def _seal(row: WebhookSecret, webhook: Webhook, text: str) -> None:
    row.version += 1
    row.destination = [webhook.url]
    row.key_id = masters.sealing_id()
    blob = vault.seal(Secret(text), sealed_rows.context(row, _FIELD), bytes(row.salt.salt), row.key_id)
    row.sealed = {_FIELD: base64.b64encode(blob).decode()}
    row.save()
