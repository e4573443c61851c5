"""Change the master key: promote a new one once everybody knows it, retire the old one once nothing needs it."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone

from apikeys import heartbeat, keyring, masters, sealed_rows
from apikeys.models import HouseKey, KeyHolder
from digitalme.audit import log as trail
from digitalme.audit.actions import Action
from digitalme.errors import InvalidRequest

_MASTER = HouseKey.Kind.MASTER
_State = HouseKey.State


class RotationRefused(InvalidRequest):
    """A step that would lose something, or that nothing calls for; the message says what to do instead."""


@transaction.atomic
def promote(key_id: str, *, actor: UUID | None = None, force: bool = False) -> bool:
    """Let a master seal from now on, in every process; return False if it does already.

    All transactions that still seal with the former one end first. Raises RotationRefused unless every live
    process holds this master (`force` goes on without), and for one that is unknown or retired.
    """
    rows = _locked()
    row = rows.get(key_id)
    if row is None or (key_id not in keyring.load(settings).ids and not force):
        raise RotationRefused(f"The master key '{key_id[:64]}' is not here. Add it to the configuration first.")
    if row.state == _State.RETIRED:
        raise RotationRefused(f"The master key '{key_id}' is retired. First: rotate_master_key reinstate {key_id}.")
    if row.state == _State.SEALING:
        return False
    ignorant = without(key_id, row.check_value)
    if ignorant and not force:
        raise RotationRefused(
            f"These live processes do not hold the master key '{key_id}': {_names(ignorant)}. Start them anew with it"
            " and try again. With --force they could neither store keys nor open new ones until then."
        )
    former = masters.promoted_id() or keyring.load(settings).configured_id
    HouseKey.objects.filter(kind=_MASTER, state=_State.SEALING).update(state=_State.KNOWN)
    HouseKey.objects.filter(pk=row.pk).update(state=_State.SEALING, promoted_at=timezone.now())
    facts: dict[str, Any] = {"was_key_id": former} if keyring.is_key_id(former) and former != key_id else {}
    _record(Action.MASTER_KEY_PROMOTED, key_id, actor, count=len(ignorant), **facts)
    transaction.on_commit(masters.refresh)
    return True


@transaction.atomic
def retire(key_id: str, *, actor: UUID | None = None, force: bool = False) -> bool:
    """Let a master open nothing any more; return False if it is retired already.

    Raises RotationRefused for the one that seals, and, without `force`, as long as a live process seals with it or
    anything stored needs it. It stays retired for ever, unless it is reinstated.
    """
    rows = _locked()
    row = rows.get(key_id)
    if row is not None and row.state == _State.RETIRED:
        return False
    if key_id == (masters.promoted_id() or keyring.load(settings).configured_id):
        raise RotationRefused(f"The master key '{key_id}' seals. Promote another one first.")
    stored = count(key_id)
    if row is None and not stored:
        raise RotationRefused(f"There is no master key '{key_id[:64]}', and nothing is sealed with it.")
    if not force:
        _refuse_needed(key_id, stored)
    now = timezone.now()
    HouseKey.objects.update_or_create(
        kind=_MASTER, key_id=key_id, defaults={"state": _State.RETIRED, "retired_at": now}
    )
    _record(Action.MASTER_KEY_RETIRED, key_id, actor, count=stored)
    transaction.on_commit(masters.refresh)
    return True


@transaction.atomic
def reinstate(key_id: str, *, actor: UUID | None = None) -> bool:
    """Let a retired master open again, as for rows of an old backup; return False if it is not retired."""
    row = _locked().get(key_id)
    if row is None:
        raise RotationRefused(f"There is no master key '{key_id[:64]}'.")
    if row.state != _State.RETIRED:
        return False
    if row.check_value:
        HouseKey.objects.filter(pk=row.pk).update(state=_State.KNOWN, retired_at=None)
    else:
        row.delete()  # it was never seen; the next process that holds it will note it
    _record(Action.MASTER_KEY_REINSTATED, key_id, actor)
    transaction.on_commit(masters.refresh)
    return True


def wanted() -> str:
    """Return the master that the configuration wants to seal and that never did; empty if there is none.

    That is the first one (or DIGITALME_SEALING_KEY_ID), as long as it is newer than the one that seals: an older
    one is promoted by name only.
    """
    configured = keyring.load(settings).configured_id
    rows = {row.key_id: row for row in HouseKey.objects.filter(kind=_MASTER)}
    promoted = masters.promoted_id()
    row = rows.get(configured)
    if row is None or row.promoted_at or row.state == _State.RETIRED:
        return ""
    return configured if not promoted or row.first_seen > rows[promoted].first_seen else ""


def without(key_id: str, check_value: str) -> list[KeyHolder]:
    """Return the live processes that do not hold exactly this master."""
    return [holder for holder in heartbeat.live() if holder.known.get(_MASTER.value, {}).get(key_id) != check_value]


def count(key_id: str) -> int:
    """Return how many rows are sealed with a master, in all tables."""
    return sum(table._default_manager.filter(key_id=key_id).count() for table in masters.SEALED_TABLES)


def _locked() -> dict[str, HouseKey]:
    """Return all masters by id, locked: nobody seals until the transaction ends."""
    return {row.key_id: row for row in HouseKey.objects.select_for_update().filter(kind=_MASTER).order_by("key_id")}


def _record(action: Action, key_id: str, actor: UUID | None, **facts: Any) -> None:
    """Write it down; what somebody wrote into a column as a master's id, and is none, stays out of the trail."""
    if keyring.is_key_id(key_id):
        trail.record(action, target=f"master_key:{key_id}", actor=actor, key_id=key_id, **facts)
    else:
        trail.record(action, target="rotation", actor=actor, **facts)


def _refuse_needed(key_id: str, stored: int) -> None:
    sealing = [holder for holder in heartbeat.live() if holder.sealing_id == key_id]
    if sealing:
        raise RotationRefused(
            f"These live processes have not noticed yet that '{key_id}' seals no more: {_names(sealing)}."
            f" Try again in {heartbeat.LIVE_SECONDS} seconds."
        )
    if stored or any(_hidden(table, key_id) for table in masters.SEALED_TABLES):
        raise RotationRefused(
            f"{stored or 'Some'} stored keys are still sealed with the master key '{key_id}'. Run rotate_master_key"
            " reseal first. With --force they can be read no more until it is reinstated."
        )


def _hidden(table: type[models.Model], key_id: str) -> bool:
    """Tell whether a row's ciphertext names the master although its column does not."""
    rows = table._default_manager.exclude(key_id=key_id).values_list("sealed", flat=True)
    return any(key_id in sealed_rows.key_ids(sealed) for sealed in rows.iterator(chunk_size=1000))


def _names(holders: Iterable[KeyHolder]) -> str:
    return ", ".join(str(holder) for holder in holders)
