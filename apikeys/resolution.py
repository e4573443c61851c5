"""Which key serves a call: the user's own, else the team's, else the house's."""

import asyncio
import base64
import binascii
import contextvars
import json
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from django.conf import settings

from apikeys import vault
from apikeys.models import Credential
from apikeys.vault import Context, CredentialUnreadable
from digitalme.database import among, as_time, as_uuid
from digitalme.errors import NotFound
from digitalme.statements import Rows, Statement
from providers import adapters, auth, registry
from providers.registry import Provider
from providers.secrets import Secret

Found = TypeVar("Found")
# Of their own: what else the event loop leaves to threads, such as looking names up, must not stand behind
# a crowd of owners whose keys are derived.
_derivers = ThreadPoolExecutor(vault.MAX_DERIVATIONS, "derive")


class KeySource(StrEnum):
    """Who pays for a call."""

    USER = "user"
    TEAM = "team"
    SYSTEM = "system"


class ResolvedKey(NamedTuple):
    """A key that will serve a call, still sealed.

    With `plain_env` it is the house's key from the environment: it has no credential and is not
    sealed.
    """

    source: KeySource
    provider: str
    credential_id: UUID | None = None
    team_id: UUID | None = None
    version: int = 0
    owner: str = "system"
    sealed: Mapping[str, str] | None = None
    salt: bytes | None = None
    destination: tuple[str, ...] = ()
    plain_env: bool = False
    # When its life ended, if it did; such a key serves nothing.
    expired_at: datetime | None = None


# Each branch finds its rows by an index; one statement with OR over all owners would read the table.
_COLUMNS = (
    "c.id, c.team_id, c.provider, c.version, c.sealed, c.destination, c.is_active, s.owner, s.salt,"
    " c.label, c.expires_at"
)
_SALTED = "JOIN apikeys_ownersalt s ON s.owner = c.salt_id"
_RANKS = (KeySource.USER, KeySource.TEAM, KeySource.SYSTEM)

# How good a candidate is: the rank of its source, then active ones first, then the oldest (ids are
# ordered by time, also as SQLite's hex digits).
_Quality = tuple[int, bool, Any]


def resolve(wanted: Collection[tuple[UUID, str]]) -> Statement[dict[tuple[UUID, str], ResolvedKey]]:
    """Find the key for each (user id, place) that has one; a place is a provider, or `provider/label`
    where an owner keeps several.

    Who has switched their own key off has none: the house does not step in unasked. The same holds
    for a team's key, and for the house's row, which comes before its key in the environment. Of
    several teams' keys one that serves is taken, of these the oldest. One that expired is found as such.
    """
    places = [place.partition("/") for _, place in wanted]
    someone, user_ids = among({user for user, _ in wanted})
    named, slugs = among({slug for slug, _, _ in places})
    called, names = among({label for _, _, label in places})
    those, chosen = f"c.provider {named} AND c.label {called}", [*slugs, *names]
    return Statement(
        f"SELECT 0, c.user_id, {_COLUMNS} FROM apikeys_credential c {_SALTED}"  # noqa: S608 (constants)
        f" WHERE c.user_id {someone} AND {those}"
        f" UNION ALL SELECT 1, m.user_id, {_COLUMNS} FROM accounts_membership m"
        f" JOIN apikeys_credential c ON c.team_id = m.team_id {_SALTED} WHERE m.user_id {someone} AND {those}"
        f" UNION ALL SELECT 2, NULL, {_COLUMNS} FROM apikeys_credential c {_SALTED} WHERE c.is_system AND {those}",
        [*user_ids, *chosen, *user_ids, *chosen, *chosen],
        lambda rows: _best(rows, wanted),
    )


def _best(rows: Rows, wanted: Collection[tuple[UUID, str]]) -> dict[tuple[UUID, str], ResolvedKey]:
    best: dict[tuple[Any, str], tuple[_Quality, tuple[Any, ...]]] = {}
    for row in rows:
        place = (as_uuid(row[1]), f"{row[4]}/{row[11]}" if row[11] else row[4])
        quality = (row[0], not row[8] or _expired(row) is not None, row[2])
        if place not in best or quality < best[place][0]:
            best[place] = (quality, row)
    found = {}
    for user_id, provider in wanted:
        chosen = best.get((user_id, provider)) or best.get((None, provider))
        key = _stored(chosen[1]) if chosen else _from_environment(provider)
        if key:
            found[user_id, provider] = key
    return found


def unseal(key: ResolvedKey) -> dict[str, Secret]:
    """Open a key's fields. Raises CredentialUnreadable if one of them does not open."""
    provider = registry.get(key.provider)
    if key.credential_id is None or key.salt is None:
        first = provider.manifest.fields[0].name
        return {first: Secret(auth.clean_key(settings.DIGITALME_SYSTEM_KEYS[key.provider]))}
    # What the row says must be what the provider's definition says today: a key goes to no host that
    # was not named when it was entered.
    if not key.sealed or adapters.moved(provider, key.destination):
        raise CredentialUnreadable(key.credential_id)
    opened = {
        name: vault.open(
            _blob(text, key.credential_id),
            Context(key.owner, key.provider, name, key.credential_id, key.version, key.destination),
            key.salt,
        )
        for name, text in key.sealed.items()
    }
    if adapters.of(provider) and adapters.destination(provider, opened) != key.destination:
        raise CredentialUnreadable(key.credential_id)
    return opened


def warm(key: ResolvedKey) -> bool:
    """Tell whether `unseal` takes microseconds, because nothing has to be derived."""
    if key.credential_id is None or key.salt is None or not key.sealed:
        return True
    try:
        blobs = [_blob(text, key.credential_id) for text in key.sealed.values()]
    except CredentialUnreadable:
        return True
    return all(vault.is_warm(key.owner, vault.key_id_of(blob), key.salt) for blob in blobs)


async def aside(deed: Callable[..., Found], *arguments: Any) -> Found:
    """Do what may derive a key, some 15 ms of CPU, in a thread, and return what came of it."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(_derivers, context.run, deed, *arguments)


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
        sealed=_texts(credential.sealed),
        salt=bytes(credential.salt.salt),
        destination=_origins(credential.destination),
    )


def versions(credential_ids: Collection[UUID]) -> Statement[Mapping[UUID, int]]:
    """Read the versions of those of these credentials that are there and switched on."""
    those, ids = among(credential_ids)
    return Statement(
        f"SELECT c.id, c.version FROM apikeys_credential c WHERE c.is_active AND c.id {those}",  # noqa: S608
        ids,
        lambda rows: {found: version for credential_id, version in rows if (found := as_uuid(credential_id))},
    )


def touch(uses: Mapping[UUID, Mapping[str, str]], *, now: datetime) -> None:
    """Note that these credentials were used, and by what, in one statement."""
    used = [Credential(id=one, last_used_at=now, last_use=dict(by)) for one, by in uses.items()]
    Credential.objects.bulk_update(used, ["last_used_at", "last_use"])


def _stored(row: tuple[Any, ...]) -> ResolvedKey | None:
    """Return the row as a key, or nothing if it is switched off, or the house's where it may have none."""
    rank, _, credential_id, team_id, provider, version, sealed, destination, active, owner, salt = row[:11]
    if not active or (_RANKS[rank] is KeySource.SYSTEM and not _house_serves(provider)):
        return None
    return ResolvedKey(
        source=_RANKS[rank],
        provider=provider,
        credential_id=as_uuid(credential_id),
        team_id=as_uuid(team_id),
        version=version,
        owner=owner,
        sealed=_texts(_json(sealed)),
        salt=bytes(salt),
        destination=_stored_origins(destination),
        expired_at=_expired(row),
    )


def _expired(row: tuple[Any, ...]) -> datetime | None:
    """Return when the row's key expired, if it has."""
    end = as_time(row[12])
    return end if end is not None and end <= datetime.now(UTC) else None


def house_serves(provider: Provider) -> bool:
    """Whether the house may have a key for a provider: one that is built in, or in the operator's folder. One that
    was entered in the admin leads wherever its author says, and one whose keys name their own destinations
    wherever their owner does."""
    return provider.origin != "installed" and not adapters.own_destination(provider)


def _house_serves(slug: str) -> bool:
    try:
        return house_serves(registry.get(slug))
    except NotFound:  # it was removed just now
        return False


def _from_environment(provider: str) -> ResolvedKey | None:
    """Return the house's key from the environment, where it may have one."""
    if not settings.DIGITALME_SYSTEM_KEYS.get(provider) or not _house_serves(provider):
        return None
    return ResolvedKey(KeySource.SYSTEM, provider, plain_env=True)


def _blob(text: str, credential_id: UUID) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise CredentialUnreadable(credential_id) from None


def _json(text: str) -> Any:
    """Return a JSON column, which both databases hand out as text; what is no JSON any more makes its
    own row unreadable, not the whole batch."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _texts(value: Any) -> dict[str, str]:
    """Return the sealed fields; anything but texts by name was altered, and is unreadable."""
    if isinstance(value, dict) and all(isinstance(text, str) for text in value.values()):
        return value
    return {}


@lru_cache(maxsize=256)
def _stored_origins(text: str) -> tuple[str, ...]:
    return _origins(_json(text))


def _origins(value: Any) -> tuple[str, ...]:
    return tuple(str(one) for one in value) if isinstance(value, list) else ()
