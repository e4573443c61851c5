"""What binds the events to one another: keyed digests, so that only who has the key can make a link."""

import hmac
import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django.conf import settings

from digitalme import material
from digitalme.audit.models import AuditEvent, AuditHead

REFERENCE_LENGTH = 32


def digest(event: AuditEvent) -> str:
    """Return the link of an event: HMAC-SHA256 over everything it says and the link before it."""
    return _mac(
        "chain",
        event.sequence,
        str(event.id),
        _time(event.at),
        event.actor,
        event.actor_kind,
        event.action,
        event.target,
        event.subject,
        event.address,
        event.request_id,
        event.facts,
        event.previous,
    )


def seal(head: AuditHead) -> str:
    """Return the proof of where the trail begins and ends."""
    return _mac("head", head.sequence, head.hash, head.anchor_sequence, head.anchor_hash)


def same(one: str, other: str) -> bool:
    """Compare two links without telling by time how alike they are."""
    return hmac.compare_digest(one.encode(), other.encode())


def reference(foreign_id: str) -> str:
    """Return what the trail keeps of a request's id that came from outside: whoever sends one may put
    anything there, so only its keyed digest is kept. It can be searched for all the same."""
    return "x-" + _mac("reference", foreign_id)[:REFERENCE_LENGTH]


def _mac(purpose: str, *parts: Any) -> str:
    # JSON keeps the parts apart, whatever they hold; sorted, because one of the databases reorders objects.
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hmac.digest(_key(settings.DIGITALME_AUDIT_KEY, purpose), text.encode(), "sha256").hex()


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


@lru_cache(maxsize=8)
def _key(encoded: str, purpose: str) -> bytes:
    master = material.decoded("DIGITALME_AUDIT_KEY", encoded)
    return material.expand(master, f"digitalme/v1/audit-{purpose}".encode())
