"""What all parts share: three people, their clients, an empty cache, throw-away servers."""

import math
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management.commands import flush
from django.db import OperationalError, connection
from django.test import Client
from pytest_django import DjangoDbBlocker

from apikeys import keyring
from digitalme import throttling
from digitalme.accounts.models import Membership, Team, User
from digitalme.audit import log, triggers
from providers import definitions, outbound, registry
from providers.installed import Catalogue
from providers.registry import Provider
from quotas import policy
from tests import mailboxes, parts, servers, several
from tests.mailboxes import Authority, Inbox, smtp_server

PASSWORD = "correct horse battery staple"
# What follows from the code alone, and stays when a test's database is emptied.
OF_THE_CODE = ("django_content_type", "auth_permission", "auth_group", "auth_group_permissions")
registry._due = math.inf  # modules that ask for providers while tests are collected have no database


pytest_collection_modifyitems = parts.choose


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Let tests empty the audit trail between them, which the database refuses to everybody else; at the
    end, cut what threads left open, or PostgreSQL does not let go of the test database."""
    # On the class: a browser's tests have a connection of their own.
    operations: Any = type(connection.ops)
    statements_of = operations.sql_flush

    def emptying(self: Any, style: Any, tables: list[str], **options: Any) -> list[str]:
        emptied = [name for name in tables if name not in OF_THE_CODE]
        if connection.vendor == "postgresql":
            # Truncating makes files anew, ten times as slow for tables with few rows. In this role no trigger runs.
            deletions = [f'DELETE FROM "{name}"' for name in emptied]  # noqa: S608 (names of the models' tables)
            return [";".join(["SET LOCAL session_replication_role = replica", *deletions])]
        statements = statements_of(self, style, emptied, **options)
        return [*triggers.removal(connection.vendor), *statements, *triggers.creation(connection.vendor)]

    execute = operations.execute_sql_flush

    def patiently(self: Any, statements: list[str]) -> None:
        for attempt in range(5):
            try:
                execute(self, statements)
                return
            except OperationalError:
                # A web process that is at work on the same tables may have to go first.
                if attempt == 4:
                    raise

    operations.sql_flush = emptying
    operations.execute_sql_flush = patiently
    # Most of the time that a test needs would go into making the same permissions and groups once more.
    flush.emit_post_migrate_signal = _refill  # type: ignore[attr-defined]
    yield
    if connection.vendor == "postgresql":
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


def _refill(*_arguments: Any, **_options: Any) -> None:
    """Make what migrating makes in the tables that were emptied."""
    log.begin()
    policy.ensure_default_tier()
    definitions.list_built_in()


@pytest.fixture(autouse=True)
def _empty_cache() -> Iterator[None]:
    """Rate limits and anything else that is cached begin afresh in each test."""
    cache.clear()
    throttling.buckets.forget()
    yield
    cache.clear()


@pytest.fixture(autouse=True)
def _no_promoted_master() -> Iterator[None]:
    """What one test's database says about masters is nothing that the next one knows."""
    yield
    keyring.adopt(keyring.State())


@pytest.fixture(autouse=True)
def _built_in_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins with the providers that are built in; others come by what the test itself does."""
    monkeypatch.setattr(registry, "CHECK_SECONDS", 10**6)
    monkeypatch.setattr(registry, "_due", time.monotonic() + 10**6)
    monkeypatch.setattr(registry, "_catalogue", Catalogue())


@pytest.fixture
def team(db: None) -> Team:
    """The team that alice owns and bob belongs to."""
    return Team.objects.create(slug="alices", name="Alice's team")


@pytest.fixture
def alice(team: Team) -> User:
    """An ordinary user who owns a team."""
    user = User.objects.create_user("alice@example.com", PASSWORD, name="Alice Archer")
    Membership.objects.create(team=team, user=user, role=Membership.Role.OWNER)
    return user


@pytest.fixture
def bob(team: Team) -> User:
    """An ordinary user, member of alice's team."""
    user = User.objects.create_user("bob@example.com", PASSWORD, name="Bob Baker")
    Membership.objects.create(team=team, user=user)
    return user


@pytest.fixture
def charlie(db: None) -> User:
    """An outsider: whatever belongs to alice or bob does not exist for charlie."""
    return User.objects.create_user("charlie@example.com", PASSWORD, name="Charlie Cook")


def _signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def alice_client(alice: User) -> Client:
    """A browser in which alice is signed in."""
    return _signed_in(alice)


@pytest.fixture
def bob_client(bob: User) -> Client:
    """A browser in which bob is signed in."""
    return _signed_in(bob)


@pytest.fixture
def charlie_client(charlie: User) -> Client:
    """A browser in which charlie is signed in."""
    return _signed_in(charlie)


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Provider:
    """A provider of which an owner may keep several keys, each of a name and a password."""
    return several.install(monkeypatch)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A new, empty PostgreSQL database for processes that a test starts; skipped where none is installed."""
    given = os.environ.get("DATABASE_URL", "")
    if given.startswith("postgres"):
        with servers.database_beside(given) as url:
            yield url
        return
    if reason := servers.postgres_missing():
        pytest.skip(reason)
    with servers.postgres() as url:
        yield url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis server for processes that a test starts; skipped where none is installed."""
    if reason := servers.redis_missing():
        pytest.skip(reason)
    with servers.redis() as url:
        yield url


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs the certificates of mail servers on loopback."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def _smtp(authority: Authority) -> Iterator[Inbox]:
    """An SMTP server with STARTTLS for all tests; take `inbox`, which begins empty in each."""
    with smtp_server(servers.free_port(), authority.certificate("localhost")) as inbox:
        yield inbox


@pytest.fixture
def inbox(_smtp: Inbox) -> Inbox:
    """An SMTP server with STARTTLS, and what it got."""
    _smtp.reset()
    return _smtp


@pytest.fixture(scope="session")
def dovecot(authority: Authority) -> Iterator[servers.Dovecot]:
    """An IMAP server with a mailbox; skipped where none is installed."""
    if reason := servers.dovecot_missing():
        pytest.skip(reason)
    with servers.dovecot(authority.certificate("localhost"), mailboxes.PEOPLE) as running:
        yield running


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[None]:
    """Mail servers on loopback are the operator's, and their certificates are good."""
    settings.DIGITALME_PRIVATE_HOSTS = frozenset({"localhost"})
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    outbound.tls.cache_clear()
    yield
    outbound.tls.cache_clear()
