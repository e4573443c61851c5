"""Keys by consent: a person is sent to a provider, comes back with a code, and its tokens become their key, or that of
a team or the house if they look after it.

What is remembered between the two lies in the person's session, and is of no use to anybody else: the state by its
hash alone, the PKCE verifier not at all, since it is computed from the state, the key's owner and SECRET_KEY.
"""

import hashlib
import logging
import secrets
from collections.abc import Collection, MutableMapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils.crypto import salted_hmac
from django.utils.http import urlsafe_base64_encode
from django.views.decorators.debug import sensitive_variables

from apikeys import grants, keys, renewal, resolution
from apikeys.keys import Owner
from apikeys.models import Consent, Credential
from digitalme import logs
from digitalme.accounts import teams
from digitalme.accounts.models import Membership, Team, User
from digitalme.accounts.permissions import Permission
from digitalme.errors import InvalidRequest, SecurityViolation
from providers import consent
from providers.manifest import Scope
from providers.registry import Provider

LIFETIME = timedelta(minutes=10)
MAX_PENDING = 5
NOTES = "oauth"
_AGAIN = "Start again from the provider's card."
Notes = MutableMapping[str, Any]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Granted:
    """What a consent came to: the key, and of the scopes that were asked for those that the person left out."""

    credential: Credential
    scopes: tuple[str, ...]
    missing: tuple[str, ...]


def redirect_url(provider: Provider) -> str:
    """Return the one address that a provider sends people back to; each has its own, so that none can be
    taken for another."""
    return f"{settings.SITE_URL}/settings/api/{provider.slug}/connected/"


def scopes_of(provider: Provider) -> tuple[Scope, ...]:
    """Return what may be asked for."""
    return provider.manifest.oauth.scopes if provider.manifest.oauth else ()


def connectable(provider: Provider, owner: Owner) -> bool:
    """Whether an owner's key for a provider can come by consent here; of the house's keys those that may serve."""
    if provider.manifest.several or not consent.available(provider):
        return False
    if owner.kind != "system":
        return True
    return resolution.house_serves(provider) and any(one.system for one in provider.manifest.operations)


def begin(provider: Provider, scopes: Collection[str], *, user: User, owner: Owner, notes: Notes, now: datetime) -> str:
    """Return the address at which the provider asks the person, and note in their session that they went there for
    this owner's key.

    Raises InvalidRequest for a scope that the definition does not know, none where there are some, or where there
    is no consent; and SecurityViolation or NotFound for an owner whose keys are not theirs to change.
    """
    if not connectable(provider, owner):
        raise InvalidRequest(f"This server is not set up to connect {provider.name} by consent. Enter a key instead.")
    _check_right(user, owner)
    known = [scope.name for scope in scopes_of(provider)]
    if set(scopes) - set(known) or (known and not scopes):
        raise InvalidRequest(f"Choose at least one of the things that {provider.name} may be asked for.")
    wanted = [name for name in known if name in scopes]
    state = secrets.token_urlsafe(32)
    url = consent.authorize_url(
        provider, wanted, state=state, verifier=_verifier(state, owner), redirect=redirect_url(provider)
    )
    pending = {digest: note for digest, note in notes.get(NOTES, {}).items() if now < _end(note)}
    newest = dict(list(pending.items())[1 - MAX_PENDING :])
    note = {"provider": provider.slug, "user": str(user.pk), "scopes": wanted, "at": now.isoformat()}
    whose = {"kind": owner.kind, "id": str(owner.id) if owner.id else None}
    notes[NOTES] = {**newest, _digest(state): {**note, "owner": whose}}
    return url


@sensitive_variables("code", "state")
def complete(
    provider: Provider, *, state: str, code: str, error: str, user: User, notes: Notes, now: datetime
) -> Granted:
    """Take what a person comes back with from a provider, and store it as the key of the owner for whom they went.

    Raises InvalidRequest, whose data["reason"] is `state` (not begun here, or used already), `expired`, `denied` or
    `refused`, what the way to the provider raises, and SecurityViolation or NotFound if the owner's keys are not
    theirs to change any more.
    """
    logs.watch(code)
    logs.watch(state)
    note = _taken(notes, state)
    if note is None or note["provider"] != provider.slug or note["user"] != str(user.pk):
        raise InvalidRequest(f"This connection was not begun here, or it was made already. {_AGAIN}", reason="state")
    if now >= _end(note):
        raise InvalidRequest(f"That took longer than ten minutes. {_AGAIN}", reason="expired")
    owner = _owner(note)
    _check_right(user, owner)
    if error or not code:
        denied = error in ("access_denied", "")
        raise InvalidRequest(
            f"You declined at {provider.name}, so nothing was connected. {_AGAIN}"
            if denied
            else f"{provider.name} did not agree, so nothing was connected. {_AGAIN}",
            reason="denied" if denied else "refused",
        )
    try:
        grant = consent.exchange(provider, code, verifier=_verifier(state, owner), redirect=redirect_url(provider))
    except consent.Refused as refused:
        log.warning("consent refused provider=%s code=%s", provider.slug, refused.code)
        raise InvalidRequest(
            f"{provider.name} gave no access for this consent. {_AGAIN}", reason="refused", code=refused.code
        ) from None
    try:
        return _store(provider, grant, note["scopes"], user, owner, now)
    except Exception:
        consent.revoke(provider, grant.access_token, grant.refresh_token)  # nobody will ever use it
        raise


def owner_behind(state: str, *, notes: Notes) -> Owner | None:
    """Return for whose key a person went to a provider; None for a state that was not begun in this session."""
    note = notes.get(NOTES, {}).get(_digest(state))
    return _owner(note) if note else None


def _owner(note: dict[str, Any]) -> Owner:
    whose = note["owner"]
    return Owner(whose["kind"], UUID(whose["id"]) if whose["id"] else None)


def _check_right(user: User, owner: Owner, *, lock: bool = False) -> None:
    """Raise SecurityViolation or NotFound unless the person may change this owner's keys; with `lock`, a team stays
    as it is for the rest of the transaction."""
    if owner.kind == "team":
        if lock:
            teams.locked(user, Team(id=owner.id), *teams.MANAGERS)
            return
        allowed = Membership.objects.filter(team=owner.id, user=user, role__in=teams.MANAGERS).exists()
    elif owner.kind == "system":
        allowed = user.has_perm(Permission.MANAGE_SYSTEM_CREDENTIALS)
    else:
        allowed = owner.id == user.pk
    if not allowed:
        raise SecurityViolation("These keys are not yours to change, so nothing was connected.")


def _store(
    provider: Provider, grant: consent.Grant, asked: list[str], user: User, owner: Owner, now: datetime
) -> Granted:
    with transaction.atomic():
        _check_right(user, owner, lock=True)
        stored = renewal.fields_of(provider, grant, now)
        credential = keys.put(actor=user, owner=owner, provider=provider, secrets=stored, granted=True)
        scopes = tuple(asked) if grant.scopes is None else grant.scopes
        facts = {"version": credential.version, "scopes": list(scopes), "granted_at": now, "renewed_at": None}
        nobody = {"ended_at": None, "claim": None, "claimed_until": None, "rest_until": None}
        Consent.objects.update_or_create(credential=credential, defaults={**facts, **nobody})
    return Granted(credential, scopes, tuple(name for name in asked if name not in scopes))


def consents_of(held: QuerySet[Credential]) -> dict[Any, Consent]:
    """Return the consents behind these keys, by the key's id."""
    found = Consent.objects.filter(credential__in=held).select_related("credential")
    return {one.credential_id: one for one in found if one.version == one.credential.version}


def remove(*, actor: User | None, credential: Credential) -> bool | None:
    """Delete a key for good, and have the provider end the grant behind it, if it came by consent.

    Return whether the provider did; None if there was nothing to end. The key is gone in any case.
    """
    granted = grants.of(credential)
    keys.remove(actor=actor, credential=credential)
    return grants.end(granted, actor=actor) if granted else None


@transaction.atomic
def remove_on_commit(*, actor: User | None, credential: Credential) -> None:
    """Delete a key for good within a transaction of the caller's; once that is committed, as `remove`."""
    granted = grants.of(credential)
    keys.remove(actor=actor, credential=credential)
    grants.end_on_commit([granted], actor=actor)


def _verifier(state: str, owner: Owner) -> str:
    """Return the PKCE verifier (RFC 7636, 43 characters) that goes with a state and the owner for whom it was made."""
    bound = salted_hmac("digitalme.oauth.verifier", f"{state} {owner}", algorithm="sha256")
    return urlsafe_base64_encode(bound.digest())


def _digest(state: str) -> str:
    return hashlib.sha256(state.encode(errors="replace")).hexdigest()


def _taken(notes: Notes, state: str) -> dict[str, Any] | None:
    """Return the note of a state and forget it: each serves once."""
    pending = dict(notes.get(NOTES, {}))
    note: dict[str, Any] | None = pending.pop(_digest(state), None)
    notes[NOTES] = pending
    return note


def _end(note: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(note["at"]) + LIFETIME
