"""Exports that a worker makes: whole whatever is killed, for their owner alone, for a week."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core import mail

from digitalme.accounts.models import Membership, Team, User
from digitalme.errors import InvalidRequest, NotFound, SecurityViolation
from digitalme.notifications.models import Notification
from tests.usage.test_exports import READ, calls_of, expected, keep
from usage import exports, large_exports, tasks
from usage.exports import Format, Selection
from usage.models import Export
from usage.recorder import Record

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 11, 9, tzinfo=UTC)
LATER = NOW + timedelta(minutes=6)


@pytest.fixture(autouse=True)
def folder(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(exports, "PAGE_ROWS", 4)
    monkeypatch.setattr(large_exports, "SLICE_PAGES", 2)
    settings.DIGITALME_EXPORTS_DIR = tmp_path / "exports"
    return tmp_path / "exports"


@pytest.fixture
def records(alice: User, bob: User) -> list[Record]:
    made = calls_of(alice, 21)
    keep(*made, *calls_of(bob, 5))
    return made


def asked(user: User, form: Format = Format.JSONL, team: Team | None = None) -> Export:
    wanted = Selection(team_id=team.pk) if team else Selection(user_id=user.pk)
    return large_exports.ask(actor=user, team=team, wanted=wanted, form=form, now=NOW)


def content(user: User, export: Export, now: datetime = NOW) -> str:
    return b"".join(large_exports.ready(user, export.pk, now=now)[1]).decode()


@pytest.mark.parametrize("form", Format)
def test_slice_by_slice_it_becomes_the_same_file(
    alice: User, records: list[Record], form: Format, folder: Path
) -> None:
    export = asked(alice, form)
    seen = []
    while large_exports.work(export.pk, now=NOW):
        export.refresh_from_db()
        seen.append((export.state, export.rows, export.percent))
    assert seen == [("running", 8, 38), ("running", 16, 76)]
    assert content(alice, export) == "".join(exports.stream(Selection(user_id=alice.pk), form))
    assert READ[form](content(alice, export)) == expected(records)
    export.refresh_from_db()
    assert (export.state, export.rows, export.percent) == ("ready", 21, 100)
    assert [file.stat().st_mode & 0o777 for file in folder.iterdir()] == [0o600]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not large_exports.work(export.pk, now=NOW)


def test_a_worker_that_was_killed_is_followed_by_another(alice: User, records: list[Record], folder: Path) -> None:
    export = asked(alice)
    large_exports.work(export.pk, now=NOW)
    taken = large_exports._take(export.pk, NOW)
    assert taken is not None
    large_exports._write(taken)  # and here it is killed
    assert not large_exports.work(export.pk, now=NOW), "it still holds the row"
    assert large_exports.look_after(now=NOW + timedelta(minutes=4)) == []
    assert large_exports.look_after(now=LATER) == [export.pk]
    while large_exports.work(export.pk, now=LATER):
        pass
    assert READ[Format.JSONL](content(alice, export)) == expected(records)
    # It was frozen only, and goes on.
    assert not large_exports._keep(taken, False, LATER)
    assert READ[Format.JSONL](content(alice, export)) == expected(records)
    assert len(list(folder.iterdir())) == 1


def test_after_some_attempts_it_is_given_up_and_told(alice: User, records: list[Record]) -> None:
    export = asked(alice)
    for attempt in range(large_exports.MOST_ATTEMPTS):
        assert large_exports._take(export.pk, NOW + timedelta(hours=attempt)) is not None
    assert not large_exports.work(export.pk, now=NOW + timedelta(days=1))
    export.refresh_from_db()
    assert export.state == "failed"
    assert Notification.objects.get(user=alice, kind="export.ready").title == "Your export could not be made"


def test_a_lost_file_is_made_anew(alice: User, records: list[Record], folder: Path) -> None:
    export = asked(alice)
    large_exports.work(export.pk, now=NOW)
    for file in folder.iterdir():
        file.unlink()
    while large_exports.work(export.pk, now=NOW):
        pass
    assert READ[Format.JSONL](content(alice, export)) == expected(records)


def test_what_was_asked_for_is_made_by_itself_and_told_once(
    alice: User, records: list[Record], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        export = asked(alice, Format.CSV)
    assert READ[Format.CSV](content(alice, export)) == expected(records)
    tasks.make_export(str(export.pk))
    told = Notification.objects.get(user=alice)
    assert (told.kind, told.text.split(".")[0]) == ("export.ready", "21 calls as CSV")
    assert len(mail.outbox) <= 1


def test_after_a_week_row_and_file_are_gone_and_strays_too(alice: User, records: list[Record], folder: Path) -> None:
    export = asked(alice)
    while large_exports.work(export.pk, now=NOW):
        pass
    stray = folder / str(uuid4())
    stray.write_text("left by somebody whose account is gone")
    os.utime(stray, (NOW.timestamp(), NOW.timestamp()))
    large_exports.look_after(now=NOW + timedelta(days=6))
    assert (len(list(folder.iterdir())), stray.exists()) == (1, False)
    with pytest.raises(NotFound):
        content(alice, export, NOW + timedelta(days=8))
    large_exports.look_after(now=NOW + timedelta(days=8))
    assert (list(folder.iterdir()), Export.objects.count()) == ([], 0)
    assert tasks.look_after_exports() == 0


def test_only_its_owner_gets_it(alice: User, bob: User, records: list[Record]) -> None:
    export = asked(alice)
    with pytest.raises(NotFound):
        content(alice, export)
    while large_exports.work(export.pk, now=NOW):
        pass
    with pytest.raises(NotFound):
        content(bob, export)


def test_of_a_team_it_is_for_those_who_still_look_after_it(alice: User, team: Team) -> None:
    export = asked(alice, team=team)
    while large_exports.work(export.pk, now=NOW):
        pass
    assert content(alice, export) == ""
    Membership.objects.filter(user=alice).update(role=Membership.Role.MEMBER)
    with pytest.raises(SecurityViolation):
        content(alice, export)


def test_a_person_keeps_a_few(alice: User) -> None:
    made = [asked(alice) for _ in range(large_exports.MOST_KEPT)]
    with pytest.raises(InvalidRequest):
        asked(alice)
    large_exports.remove(made[0])
    asked(alice)


def test_pages_and_api_are_faces_of_it(
    alice: User, records: list[Record], alice_client: Any, django_capture_on_commit_callbacks: Any
) -> None:
    page = "/settings/usage/exports/"
    with django_capture_on_commit_callbacks(execute=False):
        assert alice_client.post(f"{page}ask/", {"format": "json", "status": "ok"}).status_code == 302
    export = Export.objects.get()
    text = alice_client.get(page).content.decode()
    assert 'hx-trigger="every 2s"' in text
    while large_exports.work(export.pk, now=datetime.now(UTC)):
        pass
    text = alice_client.get(page, headers={"HX-Request": "true"}).content.decode()
    assert "every 2s" not in text
    assert '<form class="form"' not in text
    told = alice_client.get("/api/v1/usage/exports/").json()
    assert [(one["state"], one["rows"], one["percent"], one["team"]) for one in told] == [("ready", 11, 100, None)]
    file = alice_client.get(f"{page}{export.pk}/file/")
    assert file.headers["Content-Type"] == "application/json"
    assert len(json.loads(file.getvalue())) == 11
    address = f"/api/v1/usage/exports/{export.pk}/"
    assert alice_client.get(f"{address}file/").getvalue() == alice_client.get(f"{page}{export.pk}/file/").getvalue()
    assert alice_client.post(f"{page}{export.pk}/remove/").status_code == 302
    assert alice_client.get(address).status_code == 404
    made = alice_client.post(
        "/api/v1/usage/exports/", {"format": "csv", "status": "ok"}, content_type="application/json"
    )
    assert (made.status_code, made.json()["state"]) == (201, "waiting")
    assert alice_client.delete(f"/api/v1/usage/exports/{made.json()['id']}/").status_code == 204
    answer = alice_client.post(f"{page}start/", {"format": "csv", "tag": "a&b", "provider": ""})
    assert answer.headers["Location"] == "/settings/usage/export/?format=csv&tag=a%26b"
