"""T47: the database itself refuses to change an event or to delete it."""

from collections.abc import Callable

import pytest
from django.db import DatabaseError, connection, transaction

from digitalme.audit.models import AuditEvent
from tests.audit.conftest import run, write

pytestmark = pytest.mark.django_db

BY_SQL = [
    "UPDATE audit_auditevent SET action = 'login' WHERE sequence = 2",
    "UPDATE audit_auditevent SET sequence = sequence",
    "DELETE FROM audit_auditevent WHERE sequence = 3",
    "DELETE FROM audit_auditevent",
]
ON_ONE = {
    "sqlite": "INSERT OR REPLACE INTO audit_auditevent SELECT * FROM audit_auditevent WHERE sequence = 2",
    "postgresql": "TRUNCATE audit_auditevent",
}


@pytest.mark.parametrize("statement", [*BY_SQL, ON_ONE[connection.vendor]])
def test_t47_update_and_delete_are_refused_by_the_database(statement: str) -> None:
    write(3)
    before = list(AuditEvent.objects.values())
    with pytest.raises(DatabaseError, match="audit event cannot be"), transaction.atomic():
        run((statement,))
    assert list(AuditEvent.objects.values()) == before


def _save(event: AuditEvent) -> None:
    event.action = "login"
    event.save()


@pytest.mark.parametrize("deed", [_save, AuditEvent.delete, lambda _: AuditEvent.objects.all().delete()])
def test_t47_the_models_own_methods_are_refused_too(deed: Callable[[AuditEvent], object]) -> None:
    event = write(3)[1]
    with pytest.raises(DatabaseError, match="audit event cannot be"), transaction.atomic():
        deed(event)
    assert AuditEvent.objects.count() == 3
