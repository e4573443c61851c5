"""The emergency buffer: critical calls beyond a limit, a set number of times in each period."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction

from digitalme import statements
from digitalme.audit import log as trail
from digitalme.audit.actions import Action, ActorKind
from digitalme.database import among, parameters
from digitalme.statements import Rows, Statement
from quotas.models import EmergencyUse, LimitType
from quotas.rows import same_id

AT_ONCE = 100


class Buffer(NamedTuple):
    """By how many percent a limit may be passed, and how often still in this period."""

    percent: int
    left: int


class Use(NamedTuple):
    """A call that went beyond these limits; the first is what the trail names."""

    request_id: UUID
    user_id: UUID
    allocation_ids: tuple[UUID, ...]
    type: str
    provider: str


def buffers(allocation_ids: Collection[UUID]) -> Statement[dict[UUID, Buffer]]:
    """Read how far these limits may be passed. Their rows are locked by the caller."""
    these, ids = among(allocation_ids)
    return Statement(
        "SELECT id, buffer_percent, buffer_uses - buffer_used FROM quotas_allocation"  # noqa: S608 (constants)
        f" WHERE id {these}",
        ids,
        _read,
    )


def _read(rows: Rows) -> dict[UUID, Buffer]:
    return {same_id(row[0]): Buffer(row[1], row[2]) for row in rows}


def writes(uses: Sequence[Use], now: datetime) -> list[Statement[Any]]:
    """Return what counts these uses and notes them for the trail."""
    counted = [_count(one.allocation_ids) for one in uses]
    rows = [
        (one.request_id, one.user_id, one.allocation_ids[0], one.type, one.provider, _moment(now), False)
        for one in uses
    ]
    return [*counted, statements.insert("quotas_emergencyuse", _TYPES, rows)] if uses else []


_TYPES = {
    "id": "uuid",
    "user_id": "uuid",
    "allocation_id": "uuid",
    "type": "text",
    "provider": "text",
    "at": "timestamptz",
    "audited": "boolean",
}


def _count(allocation_ids: Collection[UUID]) -> Statement[None]:
    these, ids = among(allocation_ids)
    return Statement(
        f"UPDATE quotas_allocation SET buffer_used = buffer_used + 1 WHERE id {these}",  # noqa: S608 (constants)
        ids,
    )


def _moment(now: datetime) -> Any:
    (value,) = parameters([now])
    return value


@transaction.atomic
def write_down(*, now: datetime) -> int:
    """Write uses that are not in the audit trail yet into it, each once; return how many there were."""
    skip = connection.features.has_select_for_update_skip_locked
    found = list(
        EmergencyUse.objects.select_for_update(skip_locked=skip).filter(audited=False).order_by("id")[:AT_ONCE]
    )
    if found:
        EmergencyUse.objects.filter(pk__in=[one.pk for one in found]).update(audited=True)
    for one in found:
        trail.record(
            Action.EMERGENCY_USED,
            target=f"allocation:{one.allocation_id}",
            subject=f"user:{one.user_id}",
            kind=ActorKind.GATEWAY,
            now=now,
            type=LimitType(one.type),
            provider=one.provider,
        )
    return len(found)
