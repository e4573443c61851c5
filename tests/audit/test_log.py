"""Writing the trail: in the change's own transaction, without a gap, and never what somebody typed."""

import threading
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client

from digitalme.audit import chain, context, log
from digitalme.audit.actions import Action, ActorKind
from digitalme.audit.models import GENESIS, AuditEvent, AuditHead
from digitalme.errors import AuditUnavailable
from providers.validation import Category
from tests.audit.conftest import write

CANARY = "sk-proj-canaryCANARYcanary0123456789wxyz"
PLACE = f"credential:{uuid.UUID(int=1)}"


@pytest.mark.django_db
def test_an_event_says_who_did_what_to_what() -> None:
    who = uuid.uuid4()
    with transaction.atomic():
        log.record(Action.CREDENTIAL_SET, target=PLACE, subject=f"user:{who}", actor=who, provider="openai", version=2)
    event = AuditEvent.objects.get()
    assert (event.sequence, event.action, event.target) == (1, "credential.set", PLACE)
    assert (event.actor_kind, event.actor, event.subject) == ("user", f"user:{who}", f"user:{who}")
    assert event.facts == {"provider": "openai", "version": 2}
    assert (event.previous, event.hash) == (GENESIS, chain.digest(event))


@pytest.mark.django_db
def test_events_are_counted_and_linked() -> None:
    events = write(5)
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5]
    assert [event.previous for event in events[1:]] == [event.hash for event in events[:-1]]
    head = AuditHead.objects.get()
    assert (head.sequence, head.hash, head.mac) == (5, events[-1].hash, chain.seal(head))


@pytest.mark.django_db
def test_an_event_read_back_has_the_same_digest() -> None:
    at = datetime(2026, 11, 25, 1, 2, 3, 456789, tzinfo=UTC)
    write(now=at, cost=Decimal("0.10"), category=Category.VALID, scopes=["gateway", "api:read"], dry_run=True)
    event = AuditEvent.objects.get()
    assert event.at == datetime(2026, 11, 25, 1, 2, 3, 456000, tzinfo=UTC)
    assert event.facts == {"cost": "0.1", "category": "valid", "scopes": ["gateway", "api:read"], "dry_run": True}
    assert chain.digest(event) == event.hash


@pytest.mark.django_db(transaction=True)
def test_outside_of_a_transaction_nothing_is_written() -> None:
    with pytest.raises(RuntimeError, match="transaction of the change"):
        log.record(Action.IMPORT_APPLIED, target="import")
    assert not AuditEvent.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_an_event_of_a_change_that_is_undone_leaves_no_gap() -> None:
    write()
    with transaction.atomic():
        log.record(Action.IMPORT_APPLIED, target="import")
        transaction.set_rollback(True)
    assert [event.sequence for event in write()] == [2]


# --- From where -----------------------------------------------------------------------------------


@pytest.mark.django_db
def test_without_a_request_it_was_a_command() -> None:
    (event,) = write()
    assert (event.actor_kind, event.actor, event.address, event.request_id) == ("command", "", "", "")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:DB8:0::9", "2001:db8::9"),
        ("fe80::1%eth0", "fe80::1"),
        ("", ""),
        ("unix:", ""),
        (CANARY, ""),
        ("203.0.113.9, 10.0.0.1", ""),
    ],
)
def test_an_address_is_kept_in_its_one_form_and_nothing_else_is(address: str, kept: str) -> None:
    context.enter(address=address, request_id="1", own_id=True, person=lambda: None)
    try:
        (event,) = write()
    finally:
        context.leave()
    assert (event.address, event.actor_kind) == (kept, "visitor")


@pytest.mark.django_db
def test_an_id_that_the_caller_sent_is_kept_as_a_digest_that_can_be_searched_for() -> None:
    context.enter(address="", request_id=CANARY, own_id=False, person=lambda: None)
    try:
        (event,) = write()
    finally:
        context.leave()
    assert event.request_id == chain.reference(CANARY)
    assert CANARY not in event.request_id
    assert len(event.request_id) == 34


@pytest.mark.django_db
def test_a_request_is_forgotten_when_it_is_answered(client: Client) -> None:
    client.get("/healthz")
    assert context.current() is None
    assert write()[0].actor_kind == "command"


@pytest.mark.django_db
def test_the_kind_of_actor_may_be_said() -> None:
    with transaction.atomic():
        event = log.record(Action.CREDENTIAL_UNREADABLE, target=PLACE, kind=ActorKind.GATEWAY)
    assert (event.actor_kind, event.actor) == ("gateway", "")


# --- What is kept ---------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    "fact",
    [
        {"label": "work"},
        {"name": CANARY},
        {"provider": CANARY},
        {"provider": "OpenAI"},
        {"version": CANARY},
        {"version": 1.5},
        {"version": True},
        {"version": 10**19},
        {"category": "valid"},
        {"category": CANARY},
        {"scopes": CANARY},
        {"scopes": [CANARY]},
        {"fields": ["sk-proj"]},
        {"cost": 0.5},
        {"cost": Decimal("NaN")},
        {"cost": CANARY},
        {"dry_run": 1},
        {"key_id": f"{CANARY}:{CANARY}"},
    ],
    ids=str,
)
def test_a_fact_that_may_not_be_kept_is_refused_unseen(fact: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="The audit trail keeps no") as refusal, transaction.atomic():
        log.record(Action.IMPORT_APPLIED, target="import", **fact)
    assert CANARY not in f"{refusal.value} {refusal.value.__cause__}"
    assert not AuditEvent.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("target", ["", CANARY, f"credential:{CANARY}", "user:alice@example.com", "openai", "user:"])
@pytest.mark.parametrize("column", ["target", "subject"])
def test_a_thing_is_named_by_its_kind_and_id_only(column: str, target: str) -> None:
    given = {"target": "import", "subject": "", column: target}
    if given == {"target": "import", "subject": ""}:
        return
    with pytest.raises(ValueError, match="kind and an id"), transaction.atomic():
        log.record(Action.IMPORT_APPLIED, **given)  # type: ignore[arg-type]


@pytest.mark.django_db
def test_an_action_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"something\.else"), transaction.atomic():
        log.record("something.else", target="import")  # type: ignore[arg-type]


# --- When it cannot be written ----------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("refused")
def test_whoever_swallows_the_refusal_keeps_no_half_of_the_change() -> None:
    from digitalme.accounts.models import Team

    with transaction.atomic():
        Team.objects.create(slug="half", name="Half")
        with pytest.raises(AuditUnavailable, match="could not be written down"):
            log.record(Action.IMPORT_APPLIED, target="import")
    assert not Team.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("damage", [{"mac": "0" * 64}, {"sequence": 1}, {"hash": "f" * 64}, {"anchor_sequence": 1}])
def test_a_head_that_somebody_altered_is_not_gone_on_from(damage: dict[str, Any]) -> None:
    write(3)
    AuditHead.objects.update(**damage)
    with pytest.raises(AuditUnavailable):
        write()
    assert AuditEvent.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_a_head_that_is_gone_is_not_made_anew_over_events() -> None:
    write(3)
    AuditHead.objects.all().delete()
    log.begin()
    with pytest.raises(AuditUnavailable):
        write()


@pytest.mark.django_db(transaction=True)
def test_without_its_key_the_trail_takes_nothing(settings: Any) -> None:
    settings.DIGITALME_AUDIT_KEY = ""
    with pytest.raises(AuditUnavailable):
        write()
    assert not AuditEvent.objects.exists()


# --- Several at once ------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_events_written_at_once_form_one_chain_without_a_gap() -> None:
    problems: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                write(2)
        except BaseException as problem:
            problems.append(problem)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    events = list(AuditEvent.objects.order_by("sequence"))
    assert [event.sequence for event in events] == list(range(1, 81))
    assert [event.previous for event in events[1:]] == [event.hash for event in events[:-1]]
