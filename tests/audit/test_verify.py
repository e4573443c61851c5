"""T47: whatever is done to the trail behind the product's back is found, with the number of the event."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apikeys.models import Credential
from digitalme.accounts.models import User
from digitalme.audit import log, retention, verification
from digitalme.audit.actions import Action
from digitalme.audit.models import GENESIS, AuditEvent, AuditHead
from digitalme.errors import AuditUnavailable
from digitalme.gateway import tasks, trail
from tests.apikeys.conftest import OTHER_KEY, add_key
from tests.audit.conftest import run, unguarded, write

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def verify(*arguments: str) -> str:
    out = StringIO()
    call_command("verify_audit", *arguments, stdout=out)
    return out.getvalue()


def tamper(*statements: str) -> None:
    """Change the tables as somebody could who has all rights on the database, but not the audit key."""
    with unguarded():
        run(statements)


def renumber(old: int, new: int) -> str:
    return f"UPDATE audit_auditevent SET sequence = {new} WHERE sequence = {old}"  # noqa: S608


def test_a_trail_that_nobody_touched_is_whole() -> None:
    assert "empty" in verify()
    event = write(12)[-1]
    assert verify() == f"The audit trail is whole: events 1 to 12. Witness: 12:{event.hash}\n"


CHANGES: dict[str, tuple[str, int]] = {
    "action": ("SET action = 'login'", 5),
    "actor": (f"SET actor = 'user:{GENESIS[:8]}'", 5),
    "actor_kind": ("SET actor_kind = 'user'", 5),
    "target": ("SET target = 'audit'", 5),
    "subject": ("SET subject = 'system'", 5),
    "address": ("SET address = '203.0.113.1'", 5),
    "request_id": ("SET request_id = 'other'", 5),
    "facts": ("SET facts = '{\"count\": 2}'", 5),
    "at": ("SET at = '2026-01-01 00:00:00'", 5),
    "previous": ("SET previous = hash", 5),
    "hash": ("SET hash = previous", 5),
    "id": ("SET id = '00000000000000000000000000000001'", 5),
}


@pytest.mark.parametrize("column", CHANGES)
def test_t47_an_edited_event_is_found(column: str) -> None:
    write(8)
    change, sequence = CHANGES[column]
    tamper(f"UPDATE audit_auditevent {change} WHERE sequence = 5")
    with pytest.raises(CommandError, match=rf"^The audit trail is broken\. Event {sequence} was altered"):
        verify()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL refuses what a column cannot hold")
@pytest.mark.parametrize("change", ["at = 'yesterday'", "id = 'nobody'", "facts = '[]'", "at = 7"])
def test_t47_an_event_that_cannot_even_be_read_is_found(change: str) -> None:
    write(8)
    tamper(f"UPDATE audit_auditevent SET {change} WHERE sequence = 5")  # noqa: S608
    with pytest.raises(CommandError, match="Event 5 was altered"):
        verify()


@pytest.mark.parametrize(
    ("statements", "found"),
    [
        (["DELETE FROM audit_auditevent WHERE sequence = 4"], "Event 4 is missing."),
        (["DELETE FROM audit_auditevent WHERE sequence = 1"], "Event 1 is missing."),
        (["DELETE FROM audit_auditevent WHERE sequence > 3 AND sequence < 7"], "Event 4 is missing."),
        (["DELETE FROM audit_auditevent WHERE sequence = 8"], "Event 8 is missing and all after it; .* ended at 8"),
        (["DELETE FROM audit_auditevent WHERE sequence > 5"], "Event 6 is missing and all after it; .* ended at 8"),
        (["DELETE FROM audit_auditevent"], "Event 1 is missing and all after it"),
        (["DELETE FROM audit_auditevent WHERE sequence = 4", renumber(5, 4)], "Event 4 was altered"),
        ([renumber(3, 99), renumber(6, 3), renumber(99, 6)], "Event 3 was altered"),
        ([renumber(8, 9)], "Event 9 stands behind the end of the trail"),
    ],
)
def test_t47_missing_reordered_and_cut_off_events_are_found(statements: list[str], found: str) -> None:
    write(8)
    tamper(*statements)
    with pytest.raises(CommandError, match=f"^The audit trail is broken. {found}"):
        verify()


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE audit_audithead SET sequence = 5", "head of the trail was altered"),
        ("UPDATE audit_audithead SET mac = hash", "head of the trail was altered"),
        ("UPDATE audit_audithead SET anchor_sequence = 2", "head of the trail was altered"),
        ("DELETE FROM audit_audithead", "head of the trail is gone"),
    ],
)
def test_t47_a_head_that_was_altered_or_deleted_is_found(statement: str, found: str) -> None:
    write(8)
    run((statement,))
    with pytest.raises(CommandError, match=found):
        verify()


def test_t47_cutting_the_end_off_together_with_an_older_head_shows_against_a_witness() -> None:
    write(5)
    old = AuditHead.objects.values().get()
    write(3)
    witness = verification.verify().witness
    tamper("DELETE FROM audit_auditevent WHERE sequence > 5")
    AuditHead.objects.update(**old)
    assert "events 1 to 5" in verify()
    with pytest.raises(CommandError, match="Event 8 is not the one that was witnessed"):
        verify("--witness", witness)
    write(9)
    with pytest.raises(CommandError, match="Event 8 is not the one that was witnessed"):
        verify("--witness", witness)


def test_a_witness_of_a_whole_trail_is_confirmed_also_once_its_event_is_deleted_for_its_age() -> None:
    write(5, now=NOW - 100 * DAY)
    witness = verification.verify().witness
    write(5, now=NOW)
    assert "whole" in verify("--witness", witness)
    retention.purge(now=NOW)
    assert "whole" in verify("--witness", witness)
    assert "whole" in verify("--witness", f"2:{'0' * 64}")


def test_a_witness_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(CommandError, match="NUMBER:HASH"):
        verify("--witness", "12")


def test_t47_a_trail_written_under_another_key_is_not_accepted(settings: Any) -> None:
    import base64
    import os

    write(3)
    settings.DIGITALME_AUDIT_KEY = base64.b64encode(os.urandom(32)).decode()
    with pytest.raises(CommandError, match="another DIGITALME_AUDIT_KEY"):
        verify()


@pytest.mark.django_db(transaction=True)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_t47_any_one_change_of_any_event_is_found(data: st.DataObject) -> None:
    with transaction.atomic():
        begin = AuditHead.objects.get().sequence
        write(6)
        number = begin + data.draw(st.integers(1, 6))
        column = data.draw(st.sampled_from(["actor", "action", "target", "subject", "address", "request_id"]))
        text = data.draw(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
        before = AuditEvent.objects.values_list(column, flat=True).get(sequence=number)
        with unguarded():
            AuditEvent.objects.filter(sequence=number).update(**{column: text})
        verdict = verification.verify()
        assert (verdict.sequence, verdict.intact) == ((None, True) if text == before else (number, False))
        transaction.set_rollback(True)


# --- Age ------------------------------------------------------------------------------------------


def test_t47_the_purge_at_90_days_exactly_keeps_the_anchor() -> None:
    write(3, now=NOW - 91 * DAY)
    write(2, now=NOW - 90 * DAY - timedelta(milliseconds=1))
    edge = write(1, now=NOW - 90 * DAY)[0]
    write(4, now=NOW)
    assert retention.purge(now=NOW) == 5
    numbers = list(AuditEvent.objects.order_by("sequence").values_list("sequence", flat=True))
    assert numbers == [6, 7, 8, 9, 10, 11]
    head = AuditHead.objects.get()
    assert (head.anchor_sequence, head.anchor_hash, head.purging_through) == (5, edge.previous, None)
    last = AuditEvent.objects.get(sequence=11)
    assert (last.action, last.facts) == (Action.AUDIT_PURGED, {"count": 5, "through": 5})
    assert "events 6 to 11" in verify()
    assert retention.purge(now=NOW) == 0


def test_t47_what_is_deleted_after_a_purge_is_missed() -> None:
    write(3, now=NOW - 91 * DAY)
    write(3, now=NOW)
    retention.purge(now=NOW)
    tamper("DELETE FROM audit_auditevent WHERE sequence = 4")
    with pytest.raises(CommandError, match="Event 4 is missing"):
        verify()


def test_t47_what_was_purged_cannot_be_put_back_and_the_rest_stays_guarded() -> None:
    from django.db import DatabaseError

    old = write(3, now=NOW - 91 * DAY)[1]
    write(3, now=NOW)
    retention.purge(now=NOW)
    with pytest.raises(DatabaseError, match="cannot be"), transaction.atomic():
        run(("DELETE FROM audit_auditevent WHERE sequence = 4",))
    old.save(force_insert=True)
    with pytest.raises(CommandError, match="Event 2 was deleted for its age and is there again"):
        verify()


def test_everything_may_be_too_old() -> None:
    write(3, now=NOW - 91 * DAY)
    assert retention.purge(now=NOW) == 3
    assert "events 4 to 4" in verify()
    assert write()[0].sequence == 5


def test_many_are_purged_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 4)
    write(10, now=NOW - 91 * DAY)
    assert retention.purge(now=NOW) == 10
    assert [event.facts["through"] for event in AuditEvent.objects.order_by("sequence")] == [4, 8, 10]
    assert "events 11 to 13" in verify()


def test_the_retention_can_be_chosen(settings: Any) -> None:
    settings.DIGITALME_AUDIT_RETENTION_DAYS = 400
    write(3, now=NOW - 399 * DAY)
    assert retention.purge(now=NOW) == 0


def test_nothing_is_purged_of_a_trail_that_is_not_whole() -> None:
    write(3, now=NOW - 91 * DAY)
    tamper("DELETE FROM audit_auditevent WHERE sequence = 3")
    with pytest.raises(AuditUnavailable):
        retention.purge(now=NOW)
    assert trail.look_after(now=NOW) == ["Event 3 is missing and all after it; the trail ended at 3."]
    assert AuditEvent.objects.count() == 2


# --- The daily check --------------------------------------------------------------------------------


def test_the_daily_job_purges_and_notes_that_all_is_well() -> None:
    write(2, now=NOW - 4000 * DAY)
    assert tasks.look_after_audit_trail.delay().get() == []
    head = AuditHead.objects.get()
    assert (head.anchor_sequence, head.problem, head.broken_since) == (2, "", None)
    assert head.verified_at
    assert AuditEvent.objects.get().actor_kind == "task"


def test_the_daily_job_notes_since_when_the_trail_is_broken(caplog: pytest.LogCaptureFixture) -> None:
    write(3)
    tamper("DELETE FROM audit_auditevent WHERE sequence = 2")
    for days in (0, 1):
        assert trail.look_after(now=NOW + days * DAY) == ["Event 2 is missing."]
    head = AuditHead.objects.get()
    assert (head.problem, head.broken_since, head.verified_at) == ("Event 2 is missing.", NOW, NOW + DAY)
    assert "audit trail broken: Event 2 is missing." in caplog.text


def test_the_trail_that_is_read_while_it_is_purged_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    write(3, now=NOW - 91 * DAY)
    write(3, now=NOW)
    genuine: Callable[[AuditEvent], bool] = verification._genuine

    def meanwhile(event: AuditEvent) -> bool:
        retention.purge(now=NOW)
        return genuine(event)

    monkeypatch.setattr(verification, "AT_ONCE", 1)
    monkeypatch.setattr(verification, "_genuine", meanwhile)
    assert verification.verify().intact


# --- Keys put back ------------------------------------------------------------------------------------


def test_an_older_version_of_a_key_that_was_put_back_is_found(alice: User) -> None:
    old = Credential.objects.filter(pk=add_key(alice).pk).values().get()
    add_key(alice, OTHER_KEY)
    assert "whole" in verify()
    Credential.objects.filter(pk=old["id"]).update(**old)
    with pytest.raises(CommandError, match=rf"^Key {old['id']} is at version 1, but version 2 was set\."):
        verify()


def test_a_removed_key_that_was_put_back_is_found(alice: User) -> None:
    from apikeys import keys

    credential = add_key(alice)
    kept = Credential.objects.filter(pk=credential.pk).values().get()
    keys.remove(actor=alice, credential=credential)
    Credential.objects.create(**kept)
    with pytest.raises(CommandError, match="was removed and is there again"):
        verify()
    assert trail.look_after(now=NOW) == [f"Key {kept['id']} was removed and is there again."]
    assert AuditHead.objects.get().problem


def test_a_purge_inside_a_change_that_is_undone_deletes_nothing() -> None:
    write(3, now=NOW - 91 * DAY)
    with transaction.atomic():
        retention.purge(now=NOW)
        transaction.set_rollback(True)
    assert AuditEvent.objects.count() == 3
    with transaction.atomic():
        log.record(Action.IMPORT_APPLIED, target="import")
    assert "events 1 to 4" in verify()
