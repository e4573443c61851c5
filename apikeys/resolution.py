"""Which key serves a call: the user's own, else the team's, else the house's."""

import base64
import binascii
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection

from apikeys import keyring, vault
from apikeys.models import Credential
from apikeys.vault import Context, CredentialUnreadable
from digitalme.database import as_uuid, parameters, placeholders
from providers import registry
from providers.secrets import Secret


class KeySource(StrEnum):
    """Who pays for a call."""

    USER = "user"
    TEAM = "team"
    SYSTEM = "system"


_PRECEDENCE = (KeySource.USER, KeySource.TEAM, KeySource.SYSTEM)


@dataclass(frozen=True, slots=True)
class ResolvedKey:
    """A key that will serve a call, still sealed. Without a credential it is the house's key from the
    environment."""

    source: KeySource
    provider: str
    credential_id: UUID | None = None
    team_id: UUID | None = None
    version: int = 0
    owner: str = "system"
    sealed: Mapping[str, str] | None = None
    salt: bytes = b""
    destination: tuple[str, ...] = ()
    is_active: bool = True


def resolve(wanted: Collection[tuple[UUID, str]]) -> dict[tuple[UUID, str], ResolvedKey]:
    """Return the key for each (user id, provider) that has one.

    A user whose own key is switched off has none: the house does not step in unasked.
    """
    if not wanted:
        return {}
    candidates: dict[tuple[UUID | None, str], ResolvedKey] = {}
    for user_id, key in _candidates(wanted):
        place = (user_id, key.provider)
        known = candidates.get(place)
        if known is None or _PRECEDENCE.index(key.source) < _PRECEDENCE.index(known.source):
            candidates[place] = key
    found = {}
    for user, provider in wanted:
        chosen = candidates.get((user, provider)) or candidates.get((None, provider)) or _from_environment(provider)
        if chosen and chosen.is_active:
            found[user, provider] = chosen
    return found


def unseal(key: ResolvedKey) -> dict[str, Secret]:
    """Open a key's fields. Raises CredentialUnreadable if one of them does not open."""
    if key.credential_id is None:
        return {_first_field(key.provider): Secret(settings.DIGITALME_SYSTEM_KEYS[key.provider])}
    ring, sealed = keyring.ring(), key.sealed or {}
    return {
        name: vault.open_sealed(ring, _blob(text, key), _context(key, name), key.salt) for name, text in sealed.items()
    }


def warm(key: ResolvedKey) -> bool:
    """Tell whether `unseal` takes microseconds: nothing has to be derived."""
    ring = keyring.ring()
    return all(vault.is_warm(ring, _blob(text, key), key.owner, key.salt) for text in (key.sealed or {}).values())


def resolved(credential: Credential) -> ResolvedKey:
    """Return one credential as a resolved key, for a check of it."""
    source = KeySource.SYSTEM if credential.is_system else KeySource.USER if credential.user_id else KeySource.TEAM
    return ResolvedKey(
        source=source,
        provider=credential.provider,
        credential_id=credential.id,
        team_id=credential.team_id,
        version=credential.version,
        owner=credential.owner,
        sealed=credential.sealed,
        salt=bytes(credential.salt.salt),
        destination=tuple(credential.destination),
        is_active=credential.is_active,
    )


def touch(credential_ids: Collection[UUID], *, now: datetime) -> None:
    """Note that these credentials were used."""
    Credential.objects.filter(id__in=credential_ids).update(last_used_at=now)


def _candidates(wanted: Collection[tuple[UUID, str]]) -> list[tuple[UUID | None, ResolvedKey]]:
    """Read all keys that could serve, in one statement; the house's come with no user."""
    users, providers = list({user for user, _ in wanted}), list({provider for _, provider in wanted})
    some = placeholders(len(users))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.id, c.user_id, c.team_id, m.user_id, c.provider, c.version, c.sealed, c.destination, c.is_active,"  # noqa: S608
            " s.owner, s.salt FROM apikeys_credential c JOIN apikeys_ownersalt s ON s.owner = c.salt_id"
            f" LEFT JOIN accounts_membership m ON m.team_id = c.team_id AND m.user_id IN ({some})"
            f" WHERE c.label = '' AND c.provider IN ({placeholders(len(providers))})"
            f" AND (c.user_id IN ({some}) OR m.user_id IS NOT NULL OR c.is_system)",
            parameters([*users, *providers, *users]),
        )
        return [_candidate(row) for row in cursor.fetchall()]


def _candidate(row: tuple[Any, ...]) -> tuple[UUID | None, ResolvedKey]:
    own, team, member = as_uuid(row[1]), as_uuid(row[2]), as_uuid(row[3])
    source = KeySource.USER if own else KeySource.TEAM if team else KeySource.SYSTEM
    key = ResolvedKey(
        source=source,
        provider=row[4],
        credential_id=as_uuid(row[0]),
        team_id=team,
        version=row[5],
        sealed=_json(row[6]),
        destination=tuple(_json(row[7])),
        is_active=bool(row[8]),
        owner=row[9],
        salt=bytes(row[10]),
    )
    return own or member, key


def _from_environment(provider: str) -> ResolvedKey | None:
    return ResolvedKey(KeySource.SYSTEM, provider) if settings.DIGITALME_SYSTEM_KEYS.get(provider) else None


def _first_field(provider: str) -> str:
    return registry.get(provider).manifest.fields[0].name


def _context(key: ResolvedKey, field: str) -> Context:
    if key.credential_id is None:
        raise ValueError("Only a stored key has a context.")
    return Context(key.owner, key.provider, field, key.credential_id, key.version, key.destination)


def _blob(text: str, key: ResolvedKey) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        if key.credential_id is None:
            raise
        raise CredentialUnreadable(key.credential_id) from None


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value
