"""Keys that do not open: each is written into the audit trail, but a program that tries on and on does not fill it."""

import hashlib
import logging
import threading
import time
from collections import OrderedDict

from django.db import transaction

from apikeys.resolution import ResolvedKey
from digitalme.audit import actions
from digitalme.audit import log as trail
from digitalme.audit.actions import Action, ActorKind
from digitalme.errors import AuditUnavailable

# The same row in the same state is reported once in this time by each process.
QUIET_SECONDS = 3600
_REMEMBERED = 1_000

log = logging.getLogger(__name__)
_reported: OrderedDict[bytes, float] = OrderedDict()
_guard = threading.Lock()


def report(key: ResolvedKey, *, kind: ActorKind | None = None) -> None:
    """Write down that a stored key does not open, and tell the operator.

    Called on the way to an error that the caller sees anyway: where even this cannot be written, the log
    has to do.
    """
    if key.credential_id is None or _lately(key):
        return
    log.error("a stored key does not open credential=%s provider=%s", key.credential_id, key.provider)
    try:
        with transaction.atomic():
            trail.record(
                Action.CREDENTIAL_UNREADABLE,
                target=f"credential:{key.credential_id}",
                # Whoever altered the row may have written anything there.
                subject=key.owner if actions.is_place(key.owner) else "",
                kind=kind,
                provider=key.provider,
                version=key.version,
            )
    except AuditUnavailable:
        _forget(key)


def _lately(key: ResolvedKey) -> bool:
    """Whether this state of the row was reported already; notes it as such."""
    state, now = _state(key), time.monotonic()
    with _guard:
        last = _reported.get(state)
        if last is not None and now - last < QUIET_SECONDS:
            return True
        _reported[state] = now
        _reported.move_to_end(state)
        if len(_reported) > _REMEMBERED:
            _reported.popitem(last=False)
    return False


def _forget(key: ResolvedKey) -> None:
    with _guard:
        _reported.pop(_state(key), None)


def _state(key: ResolvedKey) -> bytes:
    parts = (
        key.credential_id,
        key.version,
        key.owner,
        key.provider,
        key.destination,
        sorted((key.sealed or {}).items()),
    )
    return hashlib.sha256(repr((*parts, key.salt)).encode()).digest()
