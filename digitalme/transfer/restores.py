"""Put a backup in the place of the database, and make sure that all of it is there and opens."""

import logging
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

from apikeys import kept, keyring, masters
from apikeys.models import Credential, KeptKey
from digitalme.audit import log as trail
from digitalme.audit.actions import Action
from digitalme.errors import InvalidRequest
from digitalme.gateway import invariant
from digitalme.transfer import backups, house_check, sqlite_copy
from digitalme.transfer.backup_manifest import BadBackup, Manifest
from digitalme.transfer.container import Container
from digitalme.version import VERSION

_SEALED: tuple[type[Credential] | type[KeptKey], ...] = (Credential, KeptKey)
# Of each table and master key, the oldest and the newest so many are opened.
SAMPLE = 25

log = logging.getLogger(__name__)


class NotVerified(InvalidRequest):
    """The backup was restored, but what is there now is not what it should be."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored: all rows, stored keys that were opened for a test, and whether migrations followed."""

    rows: int
    opened: int
    migrated: bool


def check(manifest: Manifest, *, replace: bool) -> None:
    """Refuse at once, before anything is read or changed, what cannot be restored here.

    Raises BadBackup for another kind of database, a newer version, or keys of the house that are missing or other
    ones; InvalidRequest if the database is in use, or is not empty and shall not be replaced.
    """
    database = backups.database()
    if manifest.vendor != database.VENDOR:
        raise BadBackup(
            f"This is a backup of {manifest.vendor}, and DATABASE_URL names {database.VENDOR}. Restore it on its own "
            "kind; docs/operations.md says how to move afterwards."
        )
    _check_version(manifest)
    house_check.check(manifest)
    if not replace and not database.present().is_empty:
        raise InvalidRequest(
            "The database is not empty. Restore into an empty one, or replace all that is in it with --replace."
        )
    database.check_alone()


def _check_version(manifest: Manifest) -> None:
    loader = MigrationLoader(None)
    known = {*loader.disk_migrations, *(name for one in loader.disk_migrations.values() for name in one.replaces)}
    unknown = [
        f"{app}.{name}" for app, names in manifest.migrations.items() for name in names if (app, name) not in known
    ]
    if unknown:
        raise BadBackup(
            f"This backup was made by version {manifest.product}, whose tables this version ({VERSION}) does not know "
            f"({unknown[0]}). Install version {manifest.product} or a newer one."
        )


def restore(backup: Container, *, now: datetime) -> Restored:
    """Restore a backup that was checked, then verify it.

    Until the last moment nothing is changed, and then everything at once. Tables of an older version are brought up to
    date; everybody is signed out. Raises BadBackup or InvalidRequest if it was not restored, NotVerified if it was
    and something is wrong with it.
    """
    manifest, database = backup.manifest, backups.database()
    beside = sqlite_copy.folder() if database is sqlite_copy else None
    with tempfile.TemporaryDirectory(prefix=".digitalme-restore-", dir=beside) as folder:
        part = Path(folder) / database.PART
        backup.extract(database.PART, part)
        database.check(part)
        database.restore(part)
    held = database.present()
    if held.counts != dict(manifest.counts):
        raise NotVerified(f"Restored, but the numbers of rows differ: {_difference(held.counts, manifest.counts)}.")
    migrated = _bring_up_to_date()
    _check_house()
    _sign_everybody_out()
    opened = _open_some()
    off = invariant.differences()
    if off:
        raise NotVerified(f"Restored, but {len(off)} allocations differ from their records: see check_ledger.")
    with transaction.atomic():
        trail.record(Action.BACKUP_RESTORED, target="backup", count=sum(held.counts.values()), now=now)
    log.info("Backup restored: made at %s, %s rows", manifest.made_at, sum(held.counts.values()))
    return Restored(sum(held.counts.values()), opened, migrated)


def _difference(here: dict[str, int], there: Mapping[str, int]) -> str:
    tables = sorted(table for table in {*here, *there} if here.get(table) != there.get(table))
    return ", ".join(
        f"{table} has {here.get(table, 'no table')}, not {there.get(table, 'none')}" for table in tables[:5]
    )


def _bring_up_to_date() -> bool:
    ContentType.objects.clear_cache()
    executor = MigrationExecutor(connection)
    if not executor.migration_plan(executor.loader.graph.leaf_nodes()):
        return False
    call_command("migrate", verbosity=0, interactive=False)
    return True


def _check_house() -> None:
    """Take over what the restored database says of the keys of the house, as every start does."""
    try:
        masters.verify()
    except keyring.UnusableKey as problem:
        raise NotVerified(f"Restored, but nothing would start with these keys of the house. {problem}") from None


def _sign_everybody_out() -> None:
    """A session that was ended after the backup was made must not live again."""
    Session.objects.all().delete()


def _open_some() -> int:
    """Open a sample of the stored keys and return how many. Raises NotVerified if one does not open."""
    rows = [row for model in _SEALED for row in _sample(model)]
    bad = [row for row in rows if not kept.readable(row)]
    if bad:
        raise NotVerified(f"Restored, but {len(bad)} of {len(rows)} stored keys do not open, such as {bad[0].pk}.")
    return len(rows)


def _sample(model: type[Credential] | type[KeptKey]) -> Iterable[Credential | KeptKey]:
    rows = model._default_manager.select_related("salt")
    for key_id in rows.order_by().values_list("key_id", flat=True).distinct():
        of_key = rows.filter(key_id=key_id)
        chosen = {row.pk: row for order in ("pk", "-pk") for row in of_key.order_by(order)[:SAMPLE]}
        yield from chosen.values()
