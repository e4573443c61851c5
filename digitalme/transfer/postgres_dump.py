"""Dump a PostgreSQL database while it is in use, and put a dump in its place, by PostgreSQL's own programs."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from django.db import connection, transaction
from django.db.backends.postgresql.client import DatabaseClient

from digitalme.errors import InvalidRequest
from digitalme.transfer import contents
from digitalme.transfer.backup_manifest import BadBackup
from digitalme.transfer.contents import Contents

PART = "database.pgdump"
VENDOR = "postgresql"
# All that a schema of ours can hold; what belongs to an extension stays.
_DROPS = """
SELECT format('DROP TABLE IF EXISTS %I.%I CASCADE;', n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND NOT c.relispartition
UNION ALL
SELECT format('DROP %s IF EXISTS %I.%I CASCADE;',
              CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'SEQUENCE' END,
              n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = current_schema() AND c.relkind IN ('v', 'm', 'S')
UNION ALL
SELECT format('DROP ROUTINE IF EXISTS %s CASCADE;', p.oid::regprocedure)
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname = current_schema()
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
"""


def dump(to: Path) -> Contents:
    """Dump the database into a new file while calls go on; return what it held at that moment."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SELECT pg_export_snapshot()")
        snapshot = cursor.fetchone()[0]
        held = contents.read(_query, VENDOR)
        options = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}", f"--file={to}"]
        command, environment = _command("pg_dump", options)
        _run(command, environment)
    return held


def present() -> Contents:
    """Return what the database holds now."""
    return contents.read(_query, VENDOR)


def check(part: Path) -> None:
    """Raise BadBackup if a dump has no readable table of contents."""
    try:
        _run([_program("pg_restore"), "--list", str(part)], dict(os.environ))
    except InvalidRequest as refusal:
        raise BadBackup(f"The database in the backup cannot be read. {refusal.message}") from None


def check_alone() -> None:
    """Raise InvalidRequest if another process works with the database as this one does."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user"
            " AND pid <> pg_backend_pid()"
        )
        others = cursor.fetchone()[0]
    if others:
        raise InvalidRequest(
            f"The database is in use by {others} other connection{'s' if others > 1 else ''}."
            " Stop web, worker and beat first."
        )


def restore(part: Path) -> None:
    """Put a dump in the place of the database, in one transaction: all of it or nothing."""
    drops = [row[0] for row in _query(_DROPS)]
    connection.close()
    command, environment = _command("psql", ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"])
    reading = [_program("pg_restore"), "--no-owner", "--no-privileges", "--file=-", str(part)]
    whole = False
    with tempfile.TemporaryFile() as said, _process(command, environment, said, subprocess.PIPE) as psql:
        assert psql.stdin  # noqa: S101 (it is a pipe)
        with contextlib.suppress(BrokenPipeError):  # psql ends at an error, which it has said
            psql.stdin.write("\n".join(["BEGIN;", *drops, ""]).encode())
            with _process(reading, environment, said, None, subprocess.PIPE) as source:
                assert source.stdout  # noqa: S101 (it is a pipe)
                shutil.copyfileobj(source.stdout, psql.stdin)
            if source.returncode == 0:
                # Without this word psql ends at the end of its input, and everything is as it was.
                psql.stdin.write(b"\nCOMMIT;\n")
                whole = True
        with contextlib.suppress(BrokenPipeError):
            psql.stdin.close()
        if psql.wait() or not whole:
            raise InvalidRequest(f"The database was not restored, and is as it was. {_last_line(said)}")


def _query(statement: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        rows: list[Any] = cursor.fetchall()
    return rows


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise InvalidRequest(
            f"{name} is not installed. Install PostgreSQL's client programs (on Debian: apt-get install "
            "postgresql-client), of the server's version or a newer one."
        )
    return found


def _command(name: str, options: list[str]) -> tuple[list[str], dict[str, str]]:
    """Return a program's command line and environment; the password is in the latter."""
    program = _program(name)
    arguments, variables = DatabaseClient.settings_to_cmd_args_env(connection.settings_dict, options)
    return [program, *arguments[1:]], {**os.environ, **(variables or {})}


def _run(command: list[str], environment: dict[str, str]) -> None:
    with tempfile.TemporaryFile() as said, _process(command, environment, said, None) as process:
        if process.wait():
            raise InvalidRequest(f"{Path(command[0]).name} failed. {_last_line(said)}")


@contextlib.contextmanager
def _process(
    command: list[str], environment: dict[str, str], said: IO[bytes], stdin: int | None, stdout: int | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(  # noqa: S603 (PostgreSQL's own programs, arguments of ours)
        command,
        env=environment,
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=subprocess.DEVNULL if stdout is None else stdout,
        stderr=said,
    )
    with process:
        yield process


def _last_line(said: IO[bytes]) -> str:
    """Return the last thing that a program complained of."""
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines()
    errors = [line for line in lines if "error" in line.lower()] or lines
    return errors[-1] if errors else "It did not say why."
