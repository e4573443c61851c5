"""Calls whose real figures come with a later answer: what they are called there, until it has come."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from digitalme import statements
from digitalme.database import parameters
from digitalme.statements import Statement

# Longer than any provider keeps what it stored.
KEPT = timedelta(days=45)
_TYPES = {"credential_id": "uuid", "reference": "text", "request_id": "uuid", "noted_at": "timestamptz"}


class Open(NamedTuple):
    """A call, and what the provider calls it; only to the same credential does that name mean anything."""

    credential_id: UUID
    reference: str
    request_id: UUID


def note(calls: Sequence[Open], *, now: datetime) -> list[Statement[Any]]:
    """Remember these calls; one that is known already stays as it is."""
    if not calls:
        return []
    rows = [(*one, now) for one in calls]
    return [statements.insert("usage_openbill", _TYPES, rows, conflict="ON CONFLICT DO NOTHING")]


def take(credential_id: UUID, reference: str) -> Statement[UUID | None]:
    """Return the call that a provider speaks of, and forget it: its bill is settled once."""
    return Statement(
        "DELETE FROM usage_openbill WHERE credential_id = %s AND reference = %s RETURNING request_id",
        parameters([credential_id, reference]),
        lambda rows: _id(rows[0][0]) if rows else None,
    )


def forget(*, now: datetime) -> int:
    """Forget what no answer came for; return how many there were."""
    from usage.models import OpenBill

    return OpenBill.objects.filter(noted_at__lt=now - KEPT).delete()[0]


def _id(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)
