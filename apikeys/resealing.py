"""Seal everything anew with the master that seals now, while the product runs.

Nothing that a reader or writer could notice changes: the row keeps its id and version, so running streams and
whatever else compares versions go on. Only ciphertext, key id and fingerprint are exchanged, by compare-and-set: a
row that somebody changed meanwhile is left alone, since what they wrote is sealed with the new master already.
"""

import base64
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import models, transaction
from django.db.models import F
from django.utils import timezone

from apikeys import keyring, masters, resolution, sealed_rows, unreadable, vault
from apikeys.models import Credential, KeptKey, Resealing, WebhookSecret
from apikeys.sealed_rows import Row
from apikeys.vault import CredentialUnreadable
from digitalme.audit import log as trail
from digitalme.audit.actions import Action
from digitalme.errors import InvalidRequest, NotFound
from providers import registry
from providers.secrets import Secret

BATCH = 200
# Two derivations of 15 ms for each owner are nearly all of the work; they run beside one another.
THREADS = os.cpu_count() or 1


class Superseded(InvalidRequest):
    """Another master was promoted while this one's re-seal ran."""


@dataclass(frozen=True)
class Target:
    """What rows are to be sealed and fingerprinted with."""

    key_id: str
    fingerprint_key_id: str

    def pending(self, table: type[models.Model]) -> Any:
        """Return the rows that are not there yet."""
        done = {"key_id": self.key_id}
        if table is Credential:
            done["fingerprint_key_id"] = self.fingerprint_key_id
        return table._default_manager.exclude(**done)

    def count(self) -> int:
        """Return how many rows are not there yet, over all tables."""
        return sum(self.pending(table).count() for table in masters.SEALED_TABLES)


@dataclass
class Progress:
    """How far a run has come."""

    total: int
    resealed: int = 0
    passed_over: int = 0
    unreadable: set[UUID] = field(default_factory=set)


def target() -> Target:
    """Return what this process's key ring says."""
    ring = keyring.ring()
    return Target(ring.sealing_id, ring.fingerprint_id)


def run(
    *,
    batch: int = BATCH,
    throttle: int = 0,
    threads: int = THREADS,
    dry_run: bool = False,
    tell: Callable[[Progress], None] = lambda progress: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Progress:
    """Seal anew what is not sealed and fingerprinted with the keys that are in use; return what was done.

    Online; may be killed and run again, and run twice at once. `throttle` is the most rows a second, 0 for no limit.
    A dry run does everything but write. Rows that do not open are reported, left as they are, and counted.
    Raises Superseded if another master is promoted meanwhile.
    """
    masters.refresh()
    goal = target()
    progress = Progress(goal.count())
    mark = None if dry_run or not progress.total else _begin(goal)
    tell(progress)
    size = max(1, min(batch, throttle or batch))
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for rows in _batches(goal, mark, size, progress, again=not dry_run):
            began = time.monotonic()
            renewed = list(pool.map(_renewed(goal), rows))
            _note_unreadable(rows, renewed, progress, report=not dry_run)
            if dry_run:
                progress.resealed += sum(one is not None for one in renewed)
            else:
                _write(goal, mark, rows, renewed, progress)
            tell(progress)
            if throttle:
                sleep(max(0.0, len(rows) / throttle - (time.monotonic() - began)))
    if mark:
        _finish(goal, mark)
    return progress


def _begin(goal: Target) -> Resealing:
    """Return where an interrupted run stopped, or a new beginning."""
    with transaction.atomic():
        _hold(goal)
        mark, new = Resealing.objects.get_or_create(key_id=goal.key_id, fingerprint_key_id=goal.fingerprint_key_id)
        if mark.finished_at:
            mark.cursor, mark.resealed, mark.finished_at, new = None, 0, None, True
            mark.started_at = timezone.now()
            mark.save()
        if new:
            trail.record(Action.ROTATION_STARTED, target="rotation", key_id=goal.key_id)
    return mark


def _finish(goal: Target, mark: Resealing) -> None:
    with transaction.atomic():
        done = Resealing.objects.select_for_update().get(pk=mark.pk)
        if done.finished_at is None and not goal.count():
            done.finished_at = timezone.now()
            done.save(update_fields=["finished_at", "updated_at"])
            trail.record(Action.ROTATION_FINISHED, target="rotation", key_id=goal.key_id, count=done.resealed)


def _batches(
    goal: Target, mark: Resealing | None, size: int, progress: Progress, *, again: bool
) -> Iterator[list[Row]]:
    """Yield pending rows, by id, from the checkpoint on; then from the start, until a pass changes nothing."""
    for table in (KeptKey, WebhookSecret, Credential):
        cursor = mark.cursor if mark and table is Credential else None
        complete = cursor is None
        while True:
            before, passed_over = progress.resealed, progress.passed_over
            while rows := list(_after(goal, table, cursor, progress)[:size]):
                yield rows
                cursor = rows[-1].id
            moved = progress.resealed > before or progress.passed_over > passed_over
            if complete and not (again and moved):
                break
            cursor, complete = None, True


def _after(goal: Target, table: type[Row], cursor: UUID | None, progress: Progress) -> Any:
    rows = goal.pending(table).exclude(id__in=progress.unreadable) if progress.unreadable else goal.pending(table)
    rows = rows.filter(id__gt=cursor) if cursor else rows
    return rows.select_related("salt").order_by("id")


def _renewed(goal: Target) -> Callable[[Row], dict[str, Any] | None]:
    """Return what makes a row's new columns, or None where it does not open. Touches no table: it runs in threads."""

    def renew(row: Row) -> dict[str, Any] | None:
        try:
            secrets = sealed_rows.opened(row)
        except CredentialUnreadable:
            return None
        columns: dict[str, Any] = {}
        if row.key_id != goal.key_id:
            columns |= {"key_id": goal.key_id, "sealed": _sealed(row, secrets, goal.key_id)}
        if isinstance(row, Credential) and secrets:
            digest = vault.fingerprint(f"owner:{row.salt_id}", row.provider, _main(row.provider, secrets))
            columns |= {"fingerprint": digest, "fingerprint_key_id": goal.fingerprint_key_id}
        return columns

    return renew


def _sealed(row: Row, secrets: Mapping[str, Secret], key_id: str) -> dict[str, str]:
    """Seal with the new master, and open it again before anybody has to rely on it."""
    found = {}
    for name, secret in secrets.items():
        blob = vault.seal(secret, sealed_rows.context(row, name), bytes(row.salt.salt), key_id)
        if vault.open(blob, sealed_rows.context(row, name), bytes(row.salt.salt)) != secret:
            raise RuntimeError("What was sealed anew does not open to the same secret.")
        found[name] = base64.b64encode(blob).decode()
    return found


def _main(slug: str, secrets: Mapping[str, Secret]) -> Secret:
    """Return the field by which a key is recognised; of a provider that is not installed any more, one of them."""
    try:
        return registry.get(slug).manifest.main(secrets)
    except (NotFound, LookupError):
        return secrets[min(secrets)]


def _note_unreadable(
    rows: list[Row], renewed: list[dict[str, Any] | None], progress: Progress, *, report: bool
) -> None:
    for row, columns in zip(rows, renewed, strict=True):
        if columns is None:
            progress.unreadable.add(row.id)
            if report and isinstance(row, Credential):
                unreadable.report(resolution.resolved(row))


@transaction.atomic
def _write(
    goal: Target, mark: Resealing | None, rows: list[Row], renewed: list[dict[str, Any] | None], progress: Progress
) -> None:
    _hold(goal)
    table = type(rows[0])
    # Rows that others have locked are left for the next pass: waiting for several of them, one after the
    # other, could end in a deadlock with who locks several in another order.
    free = set(
        table._default_manager.select_for_update(skip_locked=True)
        .filter(id__in=[row.id for row in rows])
        .values_list("id", flat=True)
    )
    changed = 0
    for row, columns in zip(rows, renewed, strict=True):
        if columns and row.id in free:
            changed += _swap(row, columns)
    progress.resealed += changed
    progress.passed_over += sum(columns is not None for columns in renewed) - changed
    if mark:
        cursor = rows[-1].id if table is Credential else mark.cursor
        Resealing.objects.filter(pk=mark.pk).update(
            cursor=cursor, resealed=F("resealed") + changed, updated_at=timezone.now()
        )


def _swap(row: Row, columns: dict[str, Any]) -> int:
    """Exchange the columns if the row is still what was read: each change of a secret raises the version, or at least
    the time."""
    same: dict[str, Any] = {"id": row.id, "version": row.version, "key_id": row.key_id}
    if isinstance(row, Credential):
        same["fingerprint_key_id"] = row.fingerprint_key_id
        # A renewed access token keeps the version, so that what runs on the former one goes on.
        same["updated_at"] = row.updated_at
    return type(row)._default_manager.filter(**same).update(**columns)


def _hold(goal: Target) -> None:
    """Keep others from promoting another master until the transaction ends; raise Superseded if they did."""
    if masters.sealing_id() != goal.key_id:
        raise Superseded(
            f"Another master key than '{goal.key_id}' was promoted meanwhile, so this re-seal stopped. Run it again."
        )
