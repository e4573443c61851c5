"""backup and restore, as an operator types them, on both databases."""

import base64
import contextlib
import functools
import json
import sqlite3
import stat
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError
from django.db import connection

from digitalme.accounts.models import User
from digitalme.transfer.backup_manifest import Manifest, Master
from tests import servers
from tests.commands import run
from tests.transfer.conftest import HOUSE_KEY, OTHER_KEY
from tests.transfer.installations import ANTHROPIC_KEY, Installation, manifest_of, new_key, rewritten

pytestmark = pytest.mark.once


@pytest.fixture
def vendor(request: pytest.FixtureRequest) -> str:
    """The kind of database; SQLite where a test does not ask for both."""
    return str(getattr(request, "param", "sqlite"))


both = pytest.mark.parametrize("vendor", ["sqlite", "postgresql"], indirect=True)


@contextlib.contextmanager
def _database(vendor: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    if vendor == "sqlite":
        yield f"sqlite:///{folder / 'digitalme.sqlite3'}"
        return
    with servers.database_beside(request.getfixturevalue("postgres_url")) as url:
        yield url


@dataclass(frozen=True, slots=True)
class Seeded:
    """An installation with people, keys and running calls, a backup of it, and what must be the same after a restore.
    No test changes it."""

    house: Installation
    backup: Path
    state: dict[str, Any]


@pytest.fixture(scope="module")
def seeded(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Seeded]]:
    """Make one for each kind of database, when it is first asked for."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def make(vendor: str) -> Seeded:
            folder = tmp_path_factory.mktemp("house")
            house = Installation(folder, stack.enter_context(_database(vendor, folder, request)))
            house.seed()
            path = tmp_path_factory.mktemp("backups") / "digitalme.backup"
            house.done("backup", str(path))
            return Seeded(house, path, dict(json.loads(house.state())))

        yield make


@pytest.fixture
def house(seeded: Callable[[str], Seeded], vendor: str) -> Installation:
    return seeded(vendor).house


@pytest.fixture
def backup(seeded: Callable[[str], Seeded], vendor: str) -> Path:
    return seeded(vendor).backup


@pytest.fixture
def state(seeded: Callable[[str], Seeded], vendor: str) -> dict[str, Any]:
    return seeded(vendor).state


@pytest.fixture
def here(house: Installation, backup: Path, settings: Any, tmp_path: Path, db: None) -> Path:
    """A backup and this process, with the keys of the same house, for what is refused at once."""
    settings.DIGITALME_MASTER_KEYS = house.master_keys
    settings.DIGITALME_FINGERPRINT_KEY = house.fingerprint_key
    settings.DIGITALME_AUDIT_KEY = house.audit_key
    if connection.vendor == "sqlite":
        return backup
    return rewritten(backup, tmp_path / "here", lambda found, part: replace(found, vendor="postgresql"))


def refusal(name: str, *arguments: str) -> str:
    """Run a command in this process, which must refuse in one line and change nothing, and return the line."""
    before = sorted(connection.introspection.table_names()), User.objects.count()
    with pytest.raises(CommandError) as refused:
        run(name, *arguments)
    assert (sorted(connection.introspection.table_names()), User.objects.count()) == before
    assert "\n" not in str(refused.value)
    assert refused.value.returncode == 1
    return str(refused.value)


@pytest.fixture
def empty(vendor: str, house: Installation, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Installation]:
    """The same house's keys over a new, empty database."""
    with _database(vendor, tmp_path, request) as url:
        yield replace(house, folder=tmp_path, database_url=url)


def is_untouched(one: Installation) -> bool:
    """Whether there is still no table in the database."""
    if one.database_url.startswith("sqlite"):
        path = Path(one.database_url.removeprefix("sqlite:///"))
        if not path.exists():
            return True
        with contextlib.closing(sqlite3.connect(path)) as database:
            return bool(database.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,))
    with psycopg.connect(one.database_url.replace("postgres://", "postgresql://")) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        return tables == (0,)


# --- There and back -----------------------------------------------------------------------------


@both
def test_a_restored_database_is_the_one_that_was_backed_up(
    state: dict[str, Any], backup: Path, empty: Installation
) -> None:
    said = empty.done("restore", str(backup))
    # The backup was made before it was written down that it was made.
    events = [event for event in state["events"] if event != "backup.made"]
    assert json.loads(empty.state()) == {**state, "sessions": 0, "events": [*events, "backup.restored"]}
    assert "import.applied" in events
    assert state["sessions"] == 1
    assert state["keys"] == sorted([HOUSE_KEY, ANTHROPIC_KEY])
    assert state["kept"] == [True]
    assert state["leases"] == 3
    assert "3 stored keys were opened" in said
    # Nothing is left beside the file or the database.
    assert [path.name for path in backup.parent.iterdir()] == [backup.name]
    assert not list(empty.folder.glob(".digitalme*"))
    # The copy can be used: ids go on where they ended.
    with _raw(empty) as database:
        database.execute("INSERT INTO auth_group (name) VALUES ('one more')")


def test_only_its_owner_may_read_a_backup(backup: Path) -> None:
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600


@both
def test_no_secret_is_in_a_backup(house: Installation, backup: Path) -> None:
    content = backup.read_bytes()
    masters = [base64.b64decode(entry.partition(":")[2]) for entry in house.master_keys.split(",")]
    secrets = [*(key.encode() for key in (HOUSE_KEY, OTHER_KEY, ANTHROPIC_KEY)), *masters]
    secrets += [base64.b64decode(house.fingerprint_key), base64.b64decode(house.audit_key)]
    for secret in secrets:
        forms = [secret, secret[::-1], base64.b64encode(secret).rstrip(b"="), secret.hex().encode()]
        forms.append(urllib.parse.quote(secret, safe="").encode())
        assert not [form for form in forms if form in content]


@both
def test_the_manifest_says_what_is_in_it(backup: Path, vendor: str) -> None:
    manifest = manifest_of(backup)
    assert manifest.vendor == vendor
    assert manifest.counts["accounts_user"] == 3
    assert manifest.masters["k1"].rows == 3
    assert "0001_initial" in manifest.migrations["accounts"]


def test_an_encrypted_backup_comes_back_with_its_passphrase_only(
    house: Installation, empty: Installation, here: Path, tmp_path: Path
) -> None:
    path, secret, other = (tmp_path / name for name in ("encrypted", "passphrase", "other"))
    secret.write_text("correct horse battery staple\n")
    other.write_text("wrong horse battery staple\n")
    assert " encrypted" in house.done("backup", str(path), "--passphrase-file", str(secret))
    assert b"manifest.json" not in path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "passphrase is another one" in refusal("restore", str(path), "--passphrase-file", str(other))
    assert "name the file of its passphrase" in refusal("restore", str(path))
    assert "is not encrypted" in refusal("restore", str(here), "--passphrase-file", str(secret))
    damaged = tmp_path / "damaged"
    damaged.write_bytes(path.read_bytes()[:-40])
    assert "cut off" in empty.refused("restore", str(damaged), "--passphrase-file", str(secret))
    assert is_untouched(empty)
    empty.done("restore", str(path), "--passphrase-file", str(secret))
    assert json.loads(empty.state())["keys"] == sorted([HOUSE_KEY, ANTHROPIC_KEY])


@pytest.mark.parametrize("passphrase", [b"", b"short", b"\n" * 20, b"x" * 5000])
def test_a_passphrase_that_is_none_is_refused(passphrase: bytes, tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_bytes(passphrase)
    with pytest.raises(CommandError, match="12 to 4096 bytes"):
        run("backup", str(tmp_path / "new"), "--passphrase-file", str(tmp_path / "passphrase"))
    with pytest.raises(CommandError, match="No such file"):
        run("backup", str(tmp_path / "new"), "--passphrase-file", str(tmp_path / "nowhere"))
    assert not (tmp_path / "new").exists()


def _raw(installation: Installation) -> Any:
    """A connection of another process to an installation's database."""
    if installation.database_url.startswith("sqlite"):
        path = installation.database_url.removeprefix("sqlite:///")
        return contextlib.closing(sqlite3.connect(path, timeout=20, isolation_level=None, check_same_thread=False))
    return contextlib.closing(
        psycopg.connect(installation.database_url.replace("postgres://", "postgresql://"), autocommit=True)
    )


@both
def test_a_backup_made_while_people_write_is_one_moment(backup: Path, empty: Installation, tmp_path: Path) -> None:
    empty.done("restore", str(backup))
    stop = threading.Event()

    def write() -> None:
        with _raw(empty) as database:
            for number in range(1_000_000):
                database.execute(f"INSERT INTO auth_group (name) VALUES ('group {number}')")  # noqa: S608
                if stop.wait(0.002):
                    return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        empty.done("backup", str(tmp_path / "busy"))
    finally:
        stop.set()
        writer.join()
    # The restore counts every table and refuses what does not fit the manifest.
    said = empty.done("restore", str(tmp_path / "busy"), "--replace", "--yes")
    assert f"{sum(manifest_of(tmp_path / 'busy').counts.values()):,} rows" in said


# --- Keys ---------------------------------------------------------------------------------------


def test_under_another_master_of_the_same_id_nothing_is_restored(here: Path, settings: Any) -> None:
    settings.DIGITALME_MASTER_KEYS = f"k1:{new_key()}"
    assert "The master key 'k1' is not the one" in refusal("restore", str(here))


def test_an_old_backup_needs_the_archived_master_and_opens_with_it(
    backup: Path, here: Path, empty: Installation, settings: Any
) -> None:
    new = f"k2:{new_key()}"
    settings.DIGITALME_MASTER_KEYS = new
    said = refusal("restore", str(here))
    assert "Unknown key id 'k1': it sealed 3 stored keys" in said
    assert "k2:...,k1:..." in said
    # The documented recovery: the archived master as a further one.
    recovered = empty.with_keys(f"{new},{empty.master_keys}")
    recovered.done("restore", str(backup))
    assert json.loads(recovered.state())["keys"] == sorted([HOUSE_KEY, ANTHROPIC_KEY])


def test_without_any_master_nothing_is_backed_up_or_restored(here: Path, settings: Any, tmp_path: Path) -> None:
    settings.DIGITALME_MASTER_KEYS = ""
    assert "DIGITALME_MASTER_KEYS is not set" in refusal("backup", str(tmp_path / "new"))
    assert "DIGITALME_MASTER_KEYS is not set" in refusal("restore", str(here))
    assert not (tmp_path / "new").exists()


def test_another_audit_key_is_refused(here: Path, settings: Any) -> None:
    settings.DIGITALME_AUDIT_KEY = new_key()
    assert "DIGITALME_AUDIT_KEY is not the one" in refusal("restore", str(here))


def test_another_fingerprint_key_is_refused_unless_it_has_a_name_of_its_own(
    backup: Path, here: Path, empty: Installation, settings: Any
) -> None:
    settings.DIGITALME_FINGERPRINT_KEY = other = new_key()
    assert "The fingerprint key 'fp1' is not the one" in refusal("restore", str(here))
    replace(empty, fingerprint_key=f"fp2:{other}").done("restore", str(backup))


def test_a_master_that_was_promoted_is_needed_even_if_it_sealed_nothing(here: Path, tmp_path: Path) -> None:
    def promoted(manifest: Manifest, part: Path) -> Manifest:
        return replace(manifest, masters={**manifest.masters, "k9": Master("", 0, True)})

    line = refusal("restore", str(rewritten(here, tmp_path / "promoted", promoted)))
    assert "Unknown key id 'k9': it is the one that seals" in line


# --- What stands there already ------------------------------------------------------------------


def test_a_backup_overwrites_nothing(here: Path, tmp_path: Path) -> None:
    before = here.read_bytes()
    assert "overwrites nothing" in refusal("backup", str(here))
    assert here.read_bytes() == before
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "overwrites nothing" in refusal("backup", str(tmp_path / "link"))
    assert "No such file" in refusal("backup", str(tmp_path / "none" / "file"))


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_not_empty_is_not_replaced_unasked(alice: User, here: Path) -> None:
    assert "not empty" in refusal("restore", str(here))


@both
def test_what_is_in_use_or_not_wholly_restorable_is_left_alone_and_what_is_replaced_is_gone(
    backup: Path, empty: Installation, tmp_path: Path
) -> None:
    def people() -> set[str]:
        with _raw(empty) as database:
            return {row[0] for row in database.execute("SELECT email FROM accounts_user").fetchall()}

    def cut(manifest: Manifest, part: Path) -> Manifest:
        part.write_bytes(part.read_bytes()[: part.stat().st_size * 3 // 4])
        return manifest

    empty.done("prepare")
    with _raw(empty) as other:
        other.execute("SELECT count(*) FROM accounts_user").fetchall()
        # Tables without people in them are empty: only that somebody is there is in the way.
        assert "Stop web, worker and beat first" in empty.refused("restore", str(backup))
    empty.done("create_user", "there@example.com")
    line = empty.refused("restore", str(rewritten(backup, tmp_path / "broken", cut)), "--replace", "--yes")
    assert "is as it was" in line or "database in the backup" in line
    assert "add --yes" in empty.refused("restore", str(backup), "--replace")
    assert people() == {"there@example.com"}
    empty.done("restore", str(backup), "--replace", "--yes")
    assert len(people()) == 3
    assert "there@example.com" not in people()


# --- Files that cannot be restored --------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"x" * 2_000, bytes(20_000)])
def test_what_is_no_backup_is_refused(content: bytes, here: Path, tmp_path: Path) -> None:
    (tmp_path / "none").write_bytes(content)
    line = refusal("restore", str(tmp_path / "none"))
    assert "damaged" in line
    assert "cannot be read: No such file" in refusal("restore", str(tmp_path / "nowhere"))


def test_a_damaged_backup_changes_nothing(backup: Path, empty: Installation, tmp_path: Path) -> None:
    content = backup.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    for name, data, said in (("cut", content[: len(content) // 2], "damaged"), ("flipped", bytes(flipped), "checksum")):
        path = tmp_path / name
        path.write_bytes(data)
        assert said in empty.refused("restore", str(path))
    assert is_untouched(empty)


def test_a_backup_of_a_newer_version_is_refused(here: Path, tmp_path: Path) -> None:
    def newer(manifest: Manifest, part: Path) -> Manifest:
        return replace(manifest, product="9.9.9", migrations={**manifest.migrations, "usage": ["0999_more"]})

    line = refusal("restore", str(rewritten(here, tmp_path / "newer", newer)))
    assert "made by version 9.9.9" in line
    assert "usage.0999_more" in line


def test_a_backup_of_an_older_version_is_brought_up_to_date(backup: Path, empty: Installation, tmp_path: Path) -> None:
    empty.done("restore", str(backup))
    empty.done("migrate", "transfer", "zero", "--verbosity", "0")
    empty.done("backup", str(tmp_path / "older"))
    said = empty.done("restore", str(tmp_path / "older"), "--replace", "--yes")
    assert "brought up to date" in said
    assert empty.done("migrate", "--check") == ""


def test_a_backup_of_the_other_database_is_refused(here: Path, tmp_path: Path) -> None:
    other = {"sqlite": "postgresql", "postgresql": "sqlite"}[connection.vendor]
    path = rewritten(here, tmp_path / "moved", lambda manifest, part: replace(manifest, vendor=other))
    assert f"This is a backup of {other}" in refusal("restore", str(path))


@pytest.mark.parametrize("vendor", ["postgresql"], indirect=True)
def test_without_the_programs_of_postgresql_it_says_what_to_install(
    house: Installation, backup: Path, empty: Installation, tmp_path: Path
) -> None:
    said = replace(house, path="/nowhere").refused("backup", str(tmp_path / "new"))
    assert "pg_dump is not installed" in said
    assert "apt-get install postgresql-client" in said
    assert not list(tmp_path.glob("*new*"))
    assert "pg_restore is not installed" in replace(empty, path="/nowhere").refused("restore", str(backup))
    assert is_untouched(empty)
