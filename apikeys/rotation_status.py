"""Where a rotation stands: which keys there are, what they hold, who knows them, and what to do next."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count

from apikeys import heartbeat, keyring, masters, resealing, rotation
from apikeys.models import Credential, HouseKey, KeyHolder, Resealing

_COMMAND = "python manage.py rotate_master_key"


@dataclass(frozen=True)
class KeyFacts:
    """One key of the house."""

    kind: str
    key_id: str
    state: str
    here: bool
    stored: int
    missing_in: tuple[str, ...]
    first_seen: datetime
    retired_at: datetime | None


@dataclass(frozen=True)
class Status:
    """Everything that an operator needs to see."""

    masters: tuple[KeyFacts, ...]
    fingerprint_keys: tuple[KeyFacts, ...]
    processes: tuple[KeyHolder, ...]
    pending: int
    progress: Resealing | None
    next_step: str


def read() -> Status:
    """Return where things stand now. Raises UnusableKey if this process has no usable key ring."""
    ring = keyring.ring()
    goal = resealing.target()
    processes = tuple(heartbeat.live())
    stored = {table: _counts(table) for table in masters.SEALED_TABLES}
    by_master = {key_id: sum(one.get(key_id, 0) for one in stored.values()) for key_id in set().union(*stored.values())}
    fingerprinted = _counts(Credential, "fingerprint_key_id")
    rows = list(HouseKey.objects.order_by("first_seen", "id"))
    keys = [_facts(row, ring, processes, by_master) for row in rows if row.kind == HouseKey.Kind.MASTER]
    prints = [_facts(row, ring, processes, fingerprinted) for row in rows if row.kind == HouseKey.Kind.FINGERPRINT]
    pending = goal.count()
    return Status(
        tuple(keys),
        tuple(prints),
        processes,
        pending,
        Resealing.objects.filter(key_id=goal.key_id, fingerprint_key_id=goal.fingerprint_key_id).first(),
        _next_step(keys, prints, pending, ring.sealing_id),
    )


def _counts(table: type, column: str = "key_id") -> dict[str, int]:
    rows = table._default_manager.order_by().values_list(column).annotate(Count("id"))  # type: ignore[attr-defined]
    return dict(rows)


def _facts(row: HouseKey, ring: keyring.KeyRing, processes: tuple[KeyHolder, ...], stored: dict[str, int]) -> KeyFacts:
    missing = tuple(str(one) for one in processes if one.known.get(row.kind, {}).get(row.key_id) != row.check_value)
    is_master = row.kind == HouseKey.Kind.MASTER
    used = row.key_id == (ring.sealing_id if is_master else ring.fingerprint_id)
    if row.state == HouseKey.State.RETIRED:
        state = "retired"
    elif used:
        state = "seals" if is_master else "computes"
    else:
        state = "opens only" if is_master else "not in use"
    here = row.key_id in (ring if is_master else ring.fingerprint_ids)
    return KeyFacts(
        row.kind, row.key_id, state, here, stored.get(row.key_id, 0), missing, row.first_seen, row.retired_at
    )


def _next_step(keys: list[KeyFacts], prints: list[KeyFacts], pending: int, sealing_id: str) -> str:
    """Return one sentence."""
    new = rotation.wanted()
    facts = next((one for one in keys if one.key_id == new), None)
    if facts and (masters.promoted_id() or any(one.stored for one in keys if one is not facts)):
        if facts.missing_in:
            return f"Start these anew, so that they know '{new}': {', '.join(facts.missing_in)}."
        return f"Everybody knows '{new}'. Promote it: {_COMMAND} promote {new}"
    if pending:
        return f"{pending} stored keys are sealed or fingerprinted with a former key. Seal them anew: {_COMMAND} reseal"
    old = [one.key_id for one in keys if one.state == "opens only" and not one.stored and _older(one, keys, sealing_id)]
    if old:
        return f"Nothing needs '{old[0]}' any more. Retire it: {_COMMAND} retire {old[0]}"
    waiting = [one.key_id for one in keys if one.state == "opens only" and not _older(one, keys, sealing_id)]
    if waiting:
        return f"'{waiting[0]}' is known but does not seal. To let it: {_COMMAND} promote {waiting[0]}"
    unneeded = [one.key_id for one in keys if one.state == "retired" and one.missing_in == ()]
    spare = [one.key_id for one in prints if one.state == "not in use" and one.here and not one.stored]
    if spare:
        return f"Nothing needs '{spare[0]}' any more: take it out of DIGITALME_FINGERPRINT_KEY."
    return "Nothing to do." if not unneeded else "Nothing to do; retired keys can be taken out of the configuration."


def _older(one: KeyFacts, keys: list[KeyFacts], sealing_id: str) -> bool:
    sealing = next((key for key in keys if key.key_id == sealing_id), None)
    return sealing is None or one.first_seen < sealing.first_seen
