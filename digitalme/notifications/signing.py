"""How a webhook's receiver knows that an event is ours: Standard Webhooks' scheme (standardwebhooks.com).

Signed is `id.timestamp.body` with HMAC-SHA256; the key is what `whsec_` of the secret is followed by, in base64.
"""

import base64
import hmac
import os
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from providers.secrets import Secret

PREFIX = "whsec_"
SECRET_BYTES = 32

# Secrets lie in the vault, which is above; it says here how one is opened.
Opener = Callable[[UUID], Secret]
_openers: list[Opener] = []


def open_secrets_with(opener: Opener) -> None:
    """Say what opens the secret of a webhook by the webhook's id. To be called once, when the process starts."""
    _openers[:] = [opener]


def secret_of(webhook_id: UUID) -> Secret:
    """Return what a webhook's events are signed with. Raises what the vault raises for one that does not open."""
    return _openers[0](webhook_id)


def new_secret() -> str:
    """Return a fresh secret as its receiver enters it."""
    return PREFIX + base64.b64encode(os.urandom(SECRET_BYTES)).decode()


def headers(delivery_id: UUID, body: bytes, secret: Secret, *, now: datetime) -> dict[str, str]:
    """Return the headers that go with a body sent at this moment. The id is the same at each try."""
    sent = str(int(now.timestamp()))
    message = f"{delivery_id}.{sent}.".encode() + body
    key = base64.b64decode(secret.reveal().removeprefix(PREFIX))
    mac = base64.b64encode(hmac.digest(key, message, "sha256")).decode()
    return {
        "content-type": "application/json",
        "user-agent": "DigitalMe-Webhooks",
        "webhook-id": str(delivery_id),
        "webhook-timestamp": sent,
        "webhook-signature": f"v1,{mac}",
    }
