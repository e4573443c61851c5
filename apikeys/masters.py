"""What the database knows of the keys of the house: which bytes belong to an id, which master seals, which is retired.

The key ring comes from outside, so two processes may hold different ones, or a wrong one. A check value by id is kept
here; it tells that two keys are the same and nothing else.
"""

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, models, transaction
from django.utils import timezone

from apikeys import keyring, sealed_rows
from apikeys.keyring import KeyRing, State, UnusableKey
from apikeys.models import Credential, HouseKey, KeptKey, WebhookSecret
from apikeys.vault import CredentialUnreadable
from digitalme.errors import DecryptionFailed

# Every table with sealed secrets. Each has the columns id, sealed, key_id and version.
SEALED_TABLES: tuple[type[models.Model], ...] = (Credential, KeptKey, WebhookSecret)
# A call that was admitted before a master was retired may be about to open its key.
STILL_OPENS_SECONDS = 60
# Rows of a table by which a master is recognised that has no check value yet.
TRIED = 5

log = logging.getLogger(__name__)


class CannotSeal(DecryptionFailed):
    """This process does not hold the master that seals; the log says more."""


def verify(now: datetime | None = None) -> None:
    """Compare the keys of the house with what this database knows of them, and take over which one seals.

    For web, workers and commands that seal or open, before they do. A key that was never seen is noted. Raises
    UnusableKey, with a sentence that names the key: it is another one than it was, it seals but is not here, or
    stored keys need it and it is not here.
    """
    ring = keyring.load(settings)
    try:
        with transaction.atomic():
            _compare(ring)
        refresh(now)
        _refuse_missing(keyring.ring())
    except DatabaseError:
        raise UnusableKey(
            "The keys of the house cannot be checked against the database: it cannot be reached, or its tables are"
            " missing (python manage.py prepare)."
        ) from None


def refresh(now: datetime | None = None) -> State:
    """Read which master seals and which are retired; this process's key ring follows at once."""
    now = now or timezone.now()
    rows = list(HouseKey.objects.filter(kind=HouseKey.Kind.MASTER).exclude(state=HouseKey.State.KNOWN))
    before = now - timedelta(seconds=STILL_OPENS_SECONDS)
    state = State(
        sealing_id=next((row.key_id for row in rows if row.state == HouseKey.State.SEALING), ""),
        retired=frozenset(
            row.key_id
            for row in rows
            if row.state == HouseKey.State.RETIRED and (row.retired_at is None or row.retired_at <= before)
        ),
    )
    keyring.adopt(state)
    return state


def sealing_id() -> str:
    """Return the id of the master that seals, and hold on to that until the transaction ends.

    To be called in the transaction that writes what was sealed with it: a promotion waits for that transaction,
    so after it nothing more is written under the former master, by whatever process. Raises CannotSeal if this
    process does not hold that master, or holds another one by its name.
    """
    ring = keyring.ring()
    while True:
        promoted = promoted_id()
        key_id = promoted or ring.configured_id
        row = HouseKey.objects.select_for_update().filter(kind=HouseKey.Kind.MASTER, key_id=key_id).first()
        if promoted_id() == promoted:
            break
    if key_id not in ring:
        log.critical("The master key '%s' seals, but this process does not hold it: it must be started anew.", key_id)
        raise CannotSeal(_UNSEALABLE)
    if row is None:
        HouseKey.objects.create(key_id=key_id, check_value=ring.check_value(key_id))
    elif row.check_value != ring.check_value(key_id):
        log.critical("The master key '%s' is not the one that this database knows by that name.", key_id)
        raise CannotSeal(_UNSEALABLE)
    return key_id


_UNSEALABLE = (
    "Keys cannot be stored right now, because the server is being given another master key. Try again in a minute;"
    " if that does not help, tell the administrator."
)


def promoted_id() -> str:
    """Return the master that was promoted to seal; empty if none was, so that the configuration decides."""
    return (
        HouseKey.objects.filter(kind=HouseKey.Kind.MASTER, state=HouseKey.State.SEALING)
        .values_list("key_id", flat=True)
        .first()
        or ""
    )


def carried() -> list[str]:
    """Return the ids of the masters under which something is stored: one look into the index per id."""
    return sorted({key_id for table in SEALED_TABLES for key_id in distinct(table, "key_id")})


def distinct(table: type[models.Model], column: str) -> Iterator[str]:
    """Yield the values of an indexed column, each once and in order, without a walk through the table."""
    rows = table._default_manager.order_by(column).values_list(column, flat=True)
    found = rows.first()
    while found is not None:
        yield found
        found = rows.filter(**{f"{column}__gt": found}).first()


def known(ring: KeyRing) -> dict[str, dict[str, str]]:
    """Return the check values of all keys in the ring, by kind and id."""
    return {
        HouseKey.Kind.MASTER.value: {key_id: ring.check_value(key_id) for key_id in ring.ids},
        HouseKey.Kind.FINGERPRINT.value: {
            key_id: ring.fingerprint_check_value(key_id) for key_id in ring.fingerprint_ids
        },
    }


def _compare(ring: KeyRing) -> None:
    """Note keys that are new; refuse one that was another before."""
    values = known(ring)
    stored = {(row.kind, row.key_id): row.check_value for row in HouseKey.objects.all()}
    new = [
        HouseKey(kind=kind, key_id=key_id, check_value=value)
        for kind, by_id in values.items()
        for key_id, value in by_id.items()
        if (kind, key_id) not in stored
    ]
    if new:
        _refuse_strangers([row.key_id for row in new if row.kind == HouseKey.Kind.MASTER])
        HouseKey.objects.bulk_create(new, ignore_conflicts=True)
        # Another process may have been faster, with other bytes.
        stored = {(row.kind, row.key_id): row.check_value for row in HouseKey.objects.all()}
    for kind, by_id in values.items():
        for key_id, value in by_id.items():
            if stored[kind, key_id] not in ("", value):
                raise UnusableKey(
                    f"The {HouseKey.Kind(kind).label.lower()} '{key_id}' is not the one that this database knows by"
                    " that name. Give the one that was there, or the new one a name of its own."
                )


def _refuse_strangers(key_ids: Iterable[str]) -> None:
    """Refuse a master that was never seen here, and opens nothing of what is stored under its name.

    A database from before there were check values tells in no other way which bytes are the right ones.
    """
    for key_id in key_ids:
        rows = [row for table in SEALED_TABLES for row in _some(table, key_id)]
        if rows and not any(_opens(row) for row in rows):
            raise UnusableKey(
                f"The master key '{key_id}' opens nothing of what is stored under its name: it is another one. Give the"
                " one that was there, or the new one a name of its own."
            )


def _some(table: type[Any], key_id: str) -> Iterable[sealed_rows.Row]:
    rows: Iterable[sealed_rows.Row] = table.objects.filter(key_id=key_id).select_related("salt").order_by("id")[:TRIED]
    return rows


def _opens(row: sealed_rows.Row) -> bool:
    try:
        return bool(sealed_rows.opened(row))
    except CredentialUnreadable:
        return False


def _refuse_missing(ring: KeyRing) -> None:
    if not ring.sealing_id:
        raise UnusableKey(
            "DIGITALME_MASTER_KEYS_DIR holds several keys: say in DIGITALME_SEALING_KEY_ID which one seals."
        )
    retired = set(
        HouseKey.objects.filter(kind=HouseKey.Kind.MASTER, state=HouseKey.State.RETIRED).values_list(
            "key_id", flat=True
        )
    )
    if ring.sealing_id not in ring:
        gone = "is retired" if ring.sealing_id in retired else "is not here"
        raise UnusableKey(
            f"The master key '{ring.sealing_id}' seals, but it {gone}. Put it back, or promote another one:"
            " python manage.py rotate_master_key promote ID."
        )
    for key_id in carried():
        if key_id not in ring and key_id not in retired:
            raise UnusableKey(
                f"Stored keys need the master key '{key_id[:64]}', and it is not here. Put it back (an old backup needs"
                " the masters of its time). If it is lost: python manage.py rotate_master_key retire"
                f" {key_id[:64]} --force."
            )
    unneeded = sorted(retired & set(keyring.load(settings).ids))
    if unneeded:
        log.warning("Retired master keys are still configured and are not used: %s.", ", ".join(unneeded))
