"""What the tests of the trail share: events to write, and ways to do what the database refuses."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from django.db import connection, transaction

from digitalme.audit import log, triggers
from digitalme.audit.actions import Action
from digitalme.audit.models import AuditEvent

Tamper = Callable[..., None]


def write(count: int = 1, *, now: datetime | None = None, **facts: Any) -> list[AuditEvent]:
    """Write some events down."""
    with transaction.atomic():
        return [log.record(Action.IMPORT_APPLIED, target="import", now=now, **facts) for _ in range(count)]


def trail() -> list[tuple[str, str]]:
    """What happened to what, oldest first, without the accounts that the fixtures made."""
    made = {Action.USER_CREATED.value, Action.USER_ROLE_CHANGED.value}
    rows = AuditEvent.objects.order_by("sequence").exclude(action__in=made)
    return list(rows.values_list("action", "target"))


@contextmanager
def unguarded() -> Iterator[None]:
    """Take the database's triggers away, as somebody with all its rights could."""
    run(triggers.removal(connection.vendor))
    yield
    run(triggers.creation(connection.vendor))


def run(statements: tuple[str, ...]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@contextmanager
def failing_inserts() -> Iterator[None]:
    """Have the database refuse to take any event."""
    if connection.vendor == "postgresql":
        run(("ALTER TABLE audit_auditevent ADD CONSTRAINT full_disk CHECK (sequence < 0) NOT VALID",))
        yield
        run(("ALTER TABLE audit_auditevent DROP CONSTRAINT full_disk",))
    else:
        refusal = "SELECT RAISE(ABORT, 'disk full')"
        run((f"CREATE TRIGGER full_disk BEFORE INSERT ON audit_auditevent BEGIN {refusal}; END",))
        yield
        run(("DROP TRIGGER full_disk",))


@pytest.fixture
def refused() -> Iterator[None]:
    """No event can be written during the whole test."""
    with failing_inserts():
        yield
