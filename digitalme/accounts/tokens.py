"""Access tokens: `dm_`, 190 random bits, a checksum. Only a digest is kept."""

import hashlib
import json
import secrets
import zlib
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from digitalme.accounts.models import AccessToken, User
from digitalme.audit import log as trail
from digitalme.audit.actions import Action
from digitalme.database import among, as_time, as_uuid
from digitalme.errors import InvalidRequest
from digitalme.statements import Rows, Statement

PREFIX = "dm_"
SCOPES = ("gateway", "api:read", "api:write")
DEFAULT_LIFETIME_DAYS = 90
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_LENGTH = 32
_CHECK_LENGTH = 6
_LENGTH = len(PREFIX) + _RANDOM_LENGTH + _CHECK_LENGTH


class Identity(NamedTuple):
    """Whose token it is and what it may do. `state` is active, expired, revoked or disabled; `fallback` is what
    happens when a key of theirs fails: stop, ask or demo."""

    token_id: UUID
    user_id: UUID
    time_zone: str
    scopes: frozenset[str]
    state: str
    fallback: str = "stop"


def looks_valid(token: str) -> bool:
    """Tell by prefix, length and checksum, without the database, whether this can be one of our tokens."""
    if len(token) != _LENGTH or not token.startswith(PREFIX) or not token.isascii():
        return False
    return token[-_CHECK_LENGTH:] == _checksum(token[:-_CHECK_LENGTH])


def digest(token: str) -> str:
    """Return what is kept of a token. It has 190 random bits, so a plain SHA-256 cannot be searched."""
    return hashlib.sha256(token.encode()).hexdigest()


@transaction.atomic
def issue(
    *,
    user: User,
    name: str,
    scopes: Iterable[str] = SCOPES,
    lifetime_days: int | None = DEFAULT_LIFETIME_DAYS,
    actor: User | None = None,
) -> tuple[AccessToken, str]:
    """Make a token and return its row and, this once, the token itself.

    Without `actor` it is whoever is signed in, or the command line. Raises InvalidRequest for an empty
    name, for unknown or no scopes, and for a lifetime outside of 1 to 3650 days; None means that the
    token does not expire. Raises AuditUnavailable, having made none, if it cannot be written down.
    """
    asked = set(scopes)
    wanted = [scope for scope in SCOPES if scope in asked]
    if not wanted or asked - set(SCOPES):
        raise InvalidRequest(f"The scopes of a token are one or several of: {', '.join(SCOPES)}.")
    if not name.strip() or len(name) > 100:
        raise InvalidRequest("Give the token a name of up to 100 characters.")
    if lifetime_days is not None and not 1 <= lifetime_days <= 3650:
        raise InvalidRequest("A token lives for 1 to 3650 days, or has no end.")
    token = _new()
    row = AccessToken.objects.create(
        user=user,
        name=name.strip(),
        digest=digest(token),
        hint=f"{PREFIX}…{token[-4:]}",
        scopes=wanted,
        expires_at=None if lifetime_days is None else timezone.now() + timedelta(days=lifetime_days),
    )
    _record(Action.TOKEN_ISSUED, row, actor, scopes=wanted, lifetime_days=lifetime_days)
    return row, token


@transaction.atomic
def revoke(token: AccessToken, now: datetime | None = None, *, actor: User | None = None) -> None:
    """End a token for good: it opens no further call. A second time changes nothing.

    `actor` and AuditUnavailable as for `issue`.
    """
    ended = AccessToken.objects.filter(id=token.id, revoked_at=None).update(revoked_at=now or timezone.now())
    token.refresh_from_db(fields=["revoked_at"])
    if ended:
        _record(Action.TOKEN_REVOKED, token, actor)


def _record(action: Action, token: AccessToken, actor: User | None, **facts: Any) -> None:
    trail.record(
        action,
        target=f"token:{token.pk}",
        subject=f"user:{token.user_id}",
        actor=actor.pk if actor else None,
        **facts,
    )


def tokens_of(user: User) -> QuerySet[AccessToken]:
    """Return a person's tokens, newest first."""
    return AccessToken.objects.filter(user=user)


def identify(digests: Collection[str], *, now: datetime) -> Statement[dict[str, Identity]]:
    """Look up many tokens at once by digest; unknown ones are absent, dead ones come with their state."""
    these, values = among(digests)
    return Statement(
        "SELECT t.digest, t.id, t.user_id, u.time_zone, t.scopes, t.expires_at, t.revoked_at, u.is_active, u.fallback"  # noqa: S608
        " FROM accounts_accesstoken t JOIN accounts_user u ON u.id = t.user_id"
        f" WHERE t.digest {these}",
        values,
        lambda rows: _identities(rows, now),
    )


def _identities(rows: Rows, now: datetime) -> dict[str, Identity]:
    found: dict[str, Identity] = {}
    for kept, token_id, user_id, zone, scopes, expires, revoked, active, fallback in rows:
        token, user = as_uuid(token_id), as_uuid(user_id)
        if token and user:
            state = _state(as_time(expires), revoked, active, now)
            found[kept] = Identity(token, user, zone, _scopes(scopes), state, fallback)
    return found


def touch(token_ids: Collection[UUID], *, now: datetime) -> None:
    """Note that these tokens were used."""
    AccessToken.objects.filter(id__in=token_ids).update(last_used_at=now)


def _state(expires: datetime | None, revoked: object, active: object, now: datetime) -> str:
    if revoked:
        return "revoked"
    if expires and expires <= now:
        return "expired"
    return "active" if active else "disabled"


@lru_cache(maxsize=256)
def _scopes(stored: str) -> frozenset[str]:
    """Return the scopes in a JSON column, which both databases hand out as text."""
    return frozenset(json.loads(stored)).intersection(SCOPES)


def _new() -> str:
    body = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))
    return body + _checksum(body)


def _checksum(body: str) -> str:
    """CRC-32 in base 62, so that a secret scanner can tell a token from a look-alike."""
    value, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECK_LENGTH):
        value, rest = divmod(value, len(_ALPHABET))
        digits = _ALPHABET[rest] + digits
    return digits
