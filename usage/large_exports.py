"""Files of records that a worker makes, however long they are, and keeps for a week.

The row is what counts: it says how much of the file is written for good. A worker writes a slice and hands on to the
next task, so that a solo worker gets to other work in between. One that was killed leaves a row whose hold runs out;
whoever comes then begins a file of its own, so that the first, if it was only frozen, writes into nothing that is read.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import IO
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from digitalme.accounts import teams
from digitalme.accounts.models import Team, User
from digitalme.errors import InvalidRequest, NotFound
from digitalme.notifications import notices
from digitalme.notifications.kinds import Kind
from digitalme.notifications.models import Level
from digitalme.notifications.notices import Message
from usage import exports
from usage.exports import Format, Place, Selection
from usage.models import Export

log = logging.getLogger(__name__)
State = Export.State
OPEN = (State.WAITING, State.RUNNING)
KEPT = timedelta(days=7)
HELD = timedelta(minutes=5)
IDLE = timedelta(minutes=1)
MOST_KEPT = 5
MOST_ATTEMPTS = 4
SLICE_PAGES = 20
_PIECE_BYTES = 256 * 1024
_PAGE = "/settings/usage/exports/"


@transaction.atomic
def ask(*, actor: User, team: Team | None, wanted: Selection, form: Format, now: datetime) -> Export:
    """Have a file made; of calls on a team's keys if one is given, which the actor looks after. Raises InvalidRequest
    if the actor has MOST_KEPT already."""
    User.objects.select_for_update().get(pk=actor.pk)
    if of(actor).count() >= MOST_KEPT:
        raise InvalidRequest(f"Up to {MOST_KEPT} exports are kept for you. Delete one of them first.")
    made = Export.objects.create(
        user=actor,
        team=team,
        selection=wanted.as_json(),
        format=form.value,
        asked_at=now,
        touched_at=now,
        expires_at=now + KEPT,
    )
    transaction.on_commit(lambda: _soon(made.pk))
    return made


def of(user: User) -> QuerySet[Export]:
    """Return a person's exports, the latest first."""
    return Export.objects.filter(user=user)


def find(user: User, export_id: UUID) -> Export:
    """Return one of a person's exports. Raises NotFound."""
    found = of(user).select_related("team").filter(pk=export_id).first()
    if found is None:
        raise NotFound("There is no such export, or it is not yours.")
    return found


def ready(user: User, export_id: UUID, *, now: datetime) -> tuple[Export, Iterator[bytes]]:
    """Return an export and what is in its file. Raises NotFound if there is none of theirs, or no file yet or any more,
    and SecurityViolation if it is of a team that they no longer look after."""
    export = find(user, export_id)
    if export.team:
        teams.managed_place_of(user, export.team.slug)
    if export.state != State.READY or export.expires_at <= now or _written(export.part) < 0:
        raise NotFound("This export is not ready, or is kept no longer. Ask for it anew.")
    return export, _read(_path(export.part))


def remove(export: Export) -> None:
    """Delete an export and its file; a worker that is at it stops."""
    export.delete()
    if export.part:
        _path(export.part).unlink(missing_ok=True)


def work(export_id: UUID, *, now: datetime) -> bool:
    """Write the next slice; return whether there is more to write. Safe to run twice, and at once."""
    export = _take(export_id, now)
    if export is None:
        return False
    try:
        ended = _write(export)
    except OSError as problem:
        # A full disk, say. The hold runs out, and another attempt begins.
        log.error("An export could not be written: %s", type(problem).__name__)
        return False
    return _keep(export, ended, now) and not ended


def look_after(*, now: datetime) -> list[UUID]:
    """Delete what has expired and files that belong to nothing; have worked on what nobody works on. Returns the
    latter's ids."""
    for expired in Export.objects.filter(expires_at__lte=now):
        remove(expired)
    known = {str(part) for part in Export.objects.exclude(part=None).values_list("part", flat=True)}
    for file in _folder().iterdir():
        # What was begun a moment ago may not be on its row yet.
        if file.name not in known and file.stat().st_mtime < (now - HELD).timestamp():
            file.unlink(missing_ok=True)
    idle = Export.objects.filter(state__in=OPEN, touched_at__lt=now - IDLE).exclude(held_until__gt=now)
    found = list(idle.values_list("pk", flat=True))
    for one in found:
        _soon(one)
    return found


def _soon(export_id: UUID) -> None:
    from usage import tasks

    tasks.make_export_soon(export_id)


@transaction.atomic
def _take(export_id: UUID, now: datetime) -> Export | None:
    """Return the export, held for us; None if it is done, or somebody else is at it."""
    export = Export.objects.select_for_update().filter(pk=export_id, state__in=OPEN).first()
    if export is None or (export.held_until and export.held_until > now):
        return None
    if export.part is None or export.held_until or _written(export.part) < export.size:
        export.attempts += 1
        if export.attempts > MOST_ATTEMPTS:
            _end(export, State.FAILED, now)
            return None
        export.part, export.rows, export.size, export.after_time, export.after_id = uuid4(), 0, 0, None, None
        export.total = Selection.of_json(export.selection).records().count()
    export.state, export.held_until, export.touched_at = State.RUNNING, now + HELD, now
    export.save()
    return export


def _write(export: Export) -> bool:
    """Write up to SLICE_PAGES pages behind what is written; return whether they were the last."""
    form, wanted = Format(export.format), Selection.of_json(export.selection)
    after = Place(export.after_time, export.after_id) if export.after_time and export.after_id else None
    with _opened(export) as file:
        file.seek(export.size)
        file.truncate()
        if not export.rows:
            file.write(form.head.encode())
        written = 0
        for rows in islice(exports.pages(wanted, after), SLICE_PAGES):
            file.write(exports.body(form, rows, first=not export.rows).encode())
            export.rows += len(rows)
            export.after_time, export.after_id = exports.place_of(rows[-1])
            written += 1
        ended = written < SLICE_PAGES or len(rows) < exports.PAGE_ROWS
        if ended:
            file.write(form.foot.encode())
        file.flush()
        os.fsync(file.fileno())
        export.size = file.tell()
    return ended


@transaction.atomic
def _keep(export: Export, ended: bool, now: datetime) -> bool:
    """Note what was written; return False, and remove the file, if it is not ours any more."""
    mine = Export.objects.select_for_update().filter(pk=export.pk, part=export.part, held_until=export.held_until)
    if not mine.exists():
        if export.part:
            _path(export.part).unlink(missing_ok=True)
        return False
    export.held_until = None
    if ended:
        _end(export, State.READY, now)
    else:
        export.save()
    return True


def _end(export: Export, state: Export.State, now: datetime) -> None:
    """Close an export and tell who asked for it."""
    export.state, export.held_until, export.touched_at, export.expires_at = state, None, now, now + KEPT
    export.save()
    ready = state == State.READY
    told = Message(
        kind=Kind.EXPORT,
        level=Level.INFO if ready else Level.BAD,
        title="Your export is ready" if ready else "Your export could not be made",
        text=f"{export.rows:,} calls as {export.format.upper()}. It can be downloaded for a week."
        if ready
        else "Ask for it once more; if it fails again, tell whoever runs this server.",
        link=_PAGE,
        key=f"export:{export.pk}",
        facts={"export": str(export.pk), "state": str(state), "rows": export.rows},
    )
    notices.tell([export.user_id], told, now=now)


def _opened(export: Export) -> IO[bytes]:
    """Open the file of an export; only its owner on this machine may read it."""
    path = _path(export.part)
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")


def _written(part: UUID | None) -> int:
    with suppress(FileNotFoundError):
        return _path(part).stat().st_size
    return -1


def _path(part: UUID | None) -> Path:
    return _folder() / str(part)


def _folder() -> Path:
    folder: Path = settings.DIGITALME_EXPORTS_DIR
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
