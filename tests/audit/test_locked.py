"""T47: a trail that is locked by somebody else holds a change up for seconds, then the change is refused whole."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import connection, transaction

from apikeys import keys
from apikeys.models import Credential
from digitalme.accounts import roles, tokens
from digitalme.accounts.models import AccessToken, User
from digitalme.accounts.roles import Role
from digitalme.audit import log
from digitalme.errors import AuditUnavailable
from tests.apikeys.conftest import OTHER_KEY, add_key
from tests.audit.conftest import run, trail

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one lock, which is waited for before"),
]
LOCKS = {
    "the whole table": "LOCK TABLE audit_auditevent IN EXCLUSIVE MODE",
    "the head": "SELECT 1 FROM audit_audithead FOR UPDATE",
}
DEEDS: dict[str, Callable[[User], object]] = {
    "replace": lambda alice: add_key(alice, OTHER_KEY),
    "remove": lambda alice: keys.remove(actor=alice, credential=keys.key_of(alice, "openai")),
    "disable": lambda alice: keys.set_active(actor=alice, credential=keys.key_of(alice, "openai"), active=False),
    "issue": lambda alice: tokens.issue(user=alice, name="x"),
    "revoke": lambda alice: tokens.revoke(AccessToken.objects.get()),
    "role": lambda alice: roles.assign(alice, Role.ADMIN),
}


@contextmanager
def locked(statement: str) -> Iterator[None]:
    """Hold a lock in another connection until the block ends."""
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                run((statement,))
                taken.set()
                done.wait(60)
        finally:
            connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert taken.wait(30)
        yield
    finally:
        done.set()
        thread.join()


def state(user: User) -> list[object]:
    fresh = User.objects.get(pk=user.pk)
    return [
        list(Credential.objects.values()),
        list(AccessToken.objects.values()),
        (fresh.is_staff, roles.role_of(fresh)),
        trail(),
    ]


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("deed", DEEDS)
def test_t47_what_waits_too_long_for_a_locked_trail_is_refused_whole(
    deed: str, lock: str, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "WAIT_SECONDS", 1)
    add_key(alice)
    tokens.issue(user=alice, name="kept")
    before = state(alice)
    with locked(LOCKS[lock]), pytest.raises(AuditUnavailable, match="could not be written down"):
        DEEDS[deed](alice)
    assert state(alice) == before
    DEEDS[deed](alice)
    assert state(alice) != before
