"""What a database holds, read by plain SQL: tables of an older or newer version are counted too."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from apikeys.masters import SEALED_TABLES

# Somebody who has rows in one of these would miss them.
PRECIOUS = ("accounts_user", "apikeys_credential", "usage_usagerecord")
_TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    "postgresql": (
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
    ),
}

Query = Callable[[str], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class Contents:
    """Rows by table, migrations by application, sealed rows by master key."""

    counts: dict[str, int]
    migrations: dict[str, list[str]]
    sealed_by: dict[str, int]

    @property
    def is_empty(self) -> bool:
        """Whether nobody would miss it: no people, no keys, no records."""
        return not any(self.counts.get(table) for table in PRECIOUS)


def read(query: Query, vendor: str) -> Contents:
    """Return what a database holds; `query` runs a statement and returns its rows. Let it see one snapshot."""
    tables = sorted(name for (name,) in query(_TABLES[vendor]))
    counts = {table: next(iter(query(f'SELECT count(*) FROM "{table}"')))[0] for table in tables}  # noqa: S608
    migrations: dict[str, list[str]] = {}
    if "django_migrations" in tables:
        for app, name in query("SELECT app, name FROM django_migrations ORDER BY app, name"):
            migrations.setdefault(app, []).append(name)
    sealed_by: Counter[str] = Counter()
    for model in SEALED_TABLES:
        if model._meta.db_table in tables:
            rows = query(f'SELECT key_id, count(*) FROM "{model._meta.db_table}" GROUP BY key_id')  # noqa: S608
            sealed_by.update(dict(rows))
    return Contents(counts, migrations, dict(sealed_by))
