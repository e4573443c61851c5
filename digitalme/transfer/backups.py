"""Make a backup: the whole database in one file, without the keys of the house."""

import logging
import os
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db import connection, transaction

from apikeys import keyring
from digitalme.audit import log as trail
from digitalme.audit.actions import Action
from digitalme.errors import InvalidRequest
from digitalme.transfer import container, house_check, postgres_dump, sqlite_copy
from digitalme.transfer.backup_manifest import Manifest
from digitalme.transfer.sealed_stream import MIN_PASSPHRASE
from digitalme.version import VERSION

MAX_PASSPHRASE = 4096

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that was made. `unreadable_by` names masters that sealed something and are not here."""

    manifest: Manifest
    bytes: int
    unreadable_by: list[str]


def database() -> Any:
    """Return the module that dumps and restores this installation's kind of database."""
    return sqlite_copy if connection.vendor == sqlite_copy.VENDOR else postgres_dump


def make(path: Path, *, passphrase: bytes | None, now: datetime) -> Made:
    """Write a backup that only its owner may read; it is there whole or not at all.

    The dump lies beside the file until the backup is complete, unencrypted, in a folder that only its owner may enter.
    Raises InvalidRequest if there is a file already, or if it cannot be written, and AuditUnavailable if the audit
    trail cannot say so.
    """
    ring, source = keyring.ring(), database()
    if path.exists() or path.is_symlink():
        raise InvalidRequest(f"{path} is there already, and a backup overwrites nothing. Choose another name.")
    try:
        with tempfile.TemporaryDirectory(prefix=".digitalme-backup-", dir=path.parent) as folder:
            dump, whole = Path(folder) / source.PART, Path(folder) / "whole"
            held = source.dump(dump)
            manifest = Manifest(
                product=VERSION,
                made_at=now.isoformat(),
                vendor=source.VENDOR,
                migrations=held.migrations,
                counts=held.counts,
                masters=house_check.known_masters(ring, held.sealed_by),
                fingerprints=house_check.fingerprints(ring),
                audit_check=house_check.audit(),
                parts={source.PART: container.fact_of(dump)},
            )
            container.write(whole, manifest, {source.PART: dump}, passphrase)
            with transaction.atomic():
                trail.record(Action.BACKUP_MADE, target="backup", count=sum(held.counts.values()), now=now)
                # A link, unlike a renaming, fails where a file came into being meanwhile.
                os.link(whole, path)
                _keep_entry(path.parent)
    except FileExistsError:
        raise InvalidRequest(
            f"{path} is there already, and a backup overwrites nothing. Choose another name."
        ) from None
    except OSError as problem:
        raise InvalidRequest(f"{path} cannot be written: {problem.strerror}.") from None
    log.info("Backup made: %s rows", sum(held.counts.values()))
    return Made(manifest, path.stat().st_size, [key_id for key_id in held.sealed_by if key_id not in ring])


def read_passphrase(path: str | None) -> bytes | None:
    """Return the passphrase in a file, without the line break at its end. Raises InvalidRequest for a short one."""
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            passphrase = file.read(MAX_PASSPHRASE + 1).rstrip(b"\r\n")
    except OSError as problem:
        raise InvalidRequest(f"{path} cannot be read: {problem.strerror}.") from None
    if not MIN_PASSPHRASE <= len(passphrase) <= MAX_PASSPHRASE:
        raise InvalidRequest(f"The passphrase must have {MIN_PASSPHRASE} to {MAX_PASSPHRASE} bytes.")
    return passphrase


def _keep_entry(folder: Path) -> None:
    """Wait until the folder's new entry is on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
