"""What the database itself refuses: to change an event, and to delete one that is not being purged for its age.

A migration that alters the table on SQLite copies it, and the copy has no triggers: it has to call
`create` again.
"""

from typing import Any

_MAY_GO = "EXISTS (SELECT 1 FROM audit_audithead WHERE OLD.sequence <= purging_through)"
_SQLITE = (
    "CREATE TRIGGER audit_event_stays_as_it_is BEFORE UPDATE ON audit_auditevent"
    " BEGIN SELECT RAISE(ABORT, 'an audit event cannot be changed'); END",
    f"CREATE TRIGGER audit_event_stays BEFORE DELETE ON audit_auditevent WHEN NOT {_MAY_GO}"
    " BEGIN SELECT RAISE(ABORT, 'an audit event cannot be deleted'); END",
    # INSERT OR REPLACE deletes without asking the trigger above.
    "CREATE TRIGGER audit_event_is_new BEFORE INSERT ON audit_auditevent"
    " WHEN EXISTS (SELECT 1 FROM audit_auditevent WHERE sequence = NEW.sequence OR id = NEW.id)"
    " BEGIN SELECT RAISE(ABORT, 'an audit event cannot be replaced'); END",
)
_POSTGRES = (
    f"""CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' THEN
            IF {_MAY_GO} THEN RETURN OLD; END IF;
        END IF;
        RAISE EXCEPTION 'an audit event cannot be changed or deleted' USING ERRCODE = 'insufficient_privilege';
    END $$""",
    "CREATE TRIGGER audit_event_stays_as_it_is BEFORE UPDATE OR DELETE ON audit_auditevent"
    " FOR EACH ROW EXECUTE FUNCTION audit_refuse()",
    "CREATE TRIGGER audit_event_stays BEFORE TRUNCATE ON audit_auditevent"
    " FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()",
)


def creation(vendor: str) -> tuple[str, ...]:
    """Return the statements that make the triggers of this database."""
    return _POSTGRES if vendor == "postgresql" else _SQLITE


def removal(vendor: str) -> tuple[str, ...]:
    """Return the statements that take them away."""
    names = ("audit_event_stays_as_it_is", "audit_event_stays", "audit_event_is_new")
    table = " ON audit_auditevent" if vendor == "postgresql" else ""
    return tuple(f"DROP TRIGGER IF EXISTS {name}{table}" for name in names)


def create(_apps: Any, editor: Any) -> None:
    """Make the triggers, in a migration."""
    for statement in (*removal(editor.connection.vendor), *creation(editor.connection.vendor)):
        editor.execute(statement)


def remove(_apps: Any, editor: Any) -> None:
    """Take them away, when the migration is undone."""
    for statement in removal(editor.connection.vendor):
        editor.execute(statement)
