"""Tell whether the keys of the house are those that a backup was made with. Check values say nothing else of a key."""

from django.conf import settings

from apikeys import keyring, masters
from apikeys.keyring import KeyRing
from apikeys.models import HouseKey
from digitalme import material
from digitalme.transfer.backup_manifest import BadBackup, Manifest, Master

_CHECK_BYTES = 8


def known_masters(ring: KeyRing, sealed_by: dict[str, int]) -> dict[str, Master]:
    """Return every master that is here, that sealed something, or that the database knows of, by id."""
    stored = dict(HouseKey.objects.filter(kind=HouseKey.Kind.MASTER).values_list("key_id", "check_value"))
    promoted = masters.promoted_id()
    return {
        key_id: Master(
            check=ring.check_value(key_id) if key_id in ring else stored.get(key_id, ""),
            rows=sealed_by.get(key_id, 0),
            seals=key_id == promoted,
        )
        for key_id in sorted({*ring.ids, *sealed_by, *stored})
    }


def fingerprints(ring: KeyRing) -> dict[str, str]:
    """Return the check values of the fingerprint keys that are here, by id."""
    return {key_id: ring.fingerprint_check_value(key_id) for key_id in ring.fingerprint_ids}


def audit() -> str:
    """Return the check value of the audit key."""
    key = material.decoded("DIGITALME_AUDIT_KEY", settings.DIGITALME_AUDIT_KEY)
    return material.expand(key, b"digitalme/v1/kcv")[:_CHECK_BYTES].hex()


def check(manifest: Manifest) -> None:
    """Raise BadBackup, with the id and what to do, unless every master that the backup needs is here and every key
    of the house that is here is the one that the backup knows by its name. Raises keyring.UnusableKey."""
    ring = keyring.load(settings)  # what the present database says of masters does not matter any more
    for key_id, master in manifest.masters.items():
        if key_id not in ring and (master.rows or master.seals):
            what = f"it sealed {master.rows} stored keys" if master.rows else "it is the one that seals"
            first = ring.configured_id or "..."
            raise BadBackup(
                f"Unknown key id '{key_id}': {what} in this backup. Add the archived master as a further one, "
                f"DIGITALME_MASTER_KEYS={first}:...,{key_id}:..., and try again."
            )
        if key_id in ring and master.check and ring.check_value(key_id) != master.check:
            raise BadBackup(
                f"The master key '{key_id}' is not the one that the backup knows by that name. Put the right one under "
                "this id into DIGITALME_MASTER_KEYS, or give the new one a name of its own, and try again."
            )
    for key_id, value in fingerprints(ring).items():
        if manifest.fingerprints.get(key_id, value) != value:
            raise BadBackup(
                f"The fingerprint key '{key_id}' is not the one that the backup knows by that name. Set the right one; "
                "if it is lost, give the new one a name of its own in DIGITALME_FINGERPRINT_KEY."
            )
    if audit() != manifest.audit_check:
        raise BadBackup(
            "DIGITALME_AUDIT_KEY is not the one that the backup was made with, and its audit trail could not go on. "
            "Set the right one."
        )
