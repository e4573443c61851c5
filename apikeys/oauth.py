"""Keys by consent: a person is sent to a provider, comes back with a code, and its tokens become their key.

What is remembered between the two lies in the person's session, and is of no use to anybody else: the state by its
hash alone, the PKCE verifier not at all, since it is computed from the state and SECRET_KEY.
"""

import hashlib
import logging
import secrets
from collections.abc import Collection, MutableMapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.crypto import salted_hmac
from django.utils.http import urlsafe_base64_encode
from django.views.decorators.debug import sensitive_variables

from apikeys import keys, renewal, resolution
from apikeys.models import Consent, Credential
from apikeys.vault import CredentialUnreadable
from digitalme import logs
from digitalme.accounts.models import User
from digitalme.errors import InvalidRequest
from providers import consent
from providers.manifest import Scope
from providers.registry import Provider
from providers.secrets import Secret

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


def begin(provider: Provider, scopes: Collection[str], *, user: User, notes: Notes, now: datetime) -> str:
    """Return the address at which the provider asks the person, and note in their session that they went there.

    Raises InvalidRequest for a scope that the definition does not know, none where there are some, or where no
    app is registered.
    """
    known = [scope.name for scope in scopes_of(provider)]
    if set(scopes) - set(known) or (known and not scopes):
        raise InvalidRequest(f"Choose at least one of the things that {provider.name} may be asked for.")
    wanted = [name for name in known if name in scopes]
    state = secrets.token_urlsafe(32)
    url = consent.authorize_url(
        provider, wanted, state=state, verifier=_verifier(state), redirect=redirect_url(provider)
    )
    pending = {digest: note for digest, note in notes.get(NOTES, {}).items() if now < _end(note)}
    newest = dict(list(pending.items())[1 - MAX_PENDING :])
    note = {"provider": provider.slug, "user": str(user.pk), "scopes": wanted, "at": now.isoformat()}
    notes[NOTES] = {**newest, _digest(state): note}
    return url


@sensitive_variables("code", "state")
def complete(
    provider: Provider, *, state: str, code: str, error: str, user: User, notes: Notes, now: datetime
) -> Granted:
    """Take what a person comes back with from a provider, and store it as their key.

    Raises InvalidRequest, whose data["reason"] is `state` (not begun here, or used already), `expired`, `denied` or
    `refused`, and what the way to the provider raises.
    """
    logs.watch(code)
    logs.watch(state)
    note = _taken(notes, state)
    if note is None or note["provider"] != provider.slug or note["user"] != str(user.pk):
        raise InvalidRequest(f"This connection was not begun here, or it was made already. {_AGAIN}", reason="state")
    if now >= _end(note):
        raise InvalidRequest(f"That took longer than ten minutes. {_AGAIN}", reason="expired")
    if error or not code:
        denied = error in ("access_denied", "")
        raise InvalidRequest(
            f"You declined at {provider.name}, so nothing was connected. {_AGAIN}"
            if denied
            else f"{provider.name} did not agree, so nothing was connected. {_AGAIN}",
            reason="denied" if denied else "refused",
        )
    try:
        grant = consent.exchange(provider, code, verifier=_verifier(state), redirect=redirect_url(provider))
    except consent.Refused as refused:
        log.warning("consent refused provider=%s code=%s", provider.slug, refused.code)
        raise InvalidRequest(
            f"{provider.name} gave no access for this consent. {_AGAIN}", reason="refused", code=refused.code
        ) from None
    return _store(provider, grant, note["scopes"], user, now)


def _store(provider: Provider, grant: consent.Grant, asked: list[str], user: User, now: datetime) -> Granted:
    owner = keys.Owner("user", user.pk)
    with transaction.atomic():
        stored = renewal.fields_of(provider, grant, now)
        credential = keys.put(actor=user, owner=owner, provider=provider, secrets=stored)
        scopes = tuple(asked) if grant.scopes is None else grant.scopes
        facts = {"version": credential.version, "scopes": list(scopes), "granted_at": now, "renewed_at": None}
        nobody = {"ended_at": None, "claim": None, "claimed_until": None, "rest_until": None}
        Consent.objects.update_or_create(credential=credential, defaults={**facts, **nobody})
    return Granted(credential, scopes, tuple(name for name in asked if name not in scopes))


def consent_of(credential: Credential) -> Consent | None:
    """Return what a key was granted by; None for one that was entered."""
    return Consent.objects.filter(credential=credential, version=credential.version).first()


def consents_of(user: User) -> dict[Any, Consent]:
    """Return the consents behind a person's own keys, by the key's id."""
    found = Consent.objects.filter(credential__user=user).select_related("credential")
    return {one.credential_id: one for one in found if one.version == one.credential.version}


@sensitive_variables("opened")
def remove(*, actor: User | None, credential: Credential, provider: Provider | None) -> bool | None:
    """Delete a key for good, and have the provider end the grant behind it, if it came by consent.

    Return whether the provider did; None if there was nothing to end. The key is gone in any case.
    """
    opened: dict[str, Secret] = {}
    granted = consent_of(credential)
    if granted and granted.ended_at is None and provider and consent.available(provider):
        try:
            opened = resolution.unseal(resolution.resolved(credential))
        except CredentialUnreadable:
            log.warning("A grant could not be ended, since the key does not open: %s", credential.id)
    keys.remove(actor=actor, credential=credential)
    if granted is None or granted.ended_at is not None:
        return None
    field = provider.manifest.oauth.field if provider and provider.manifest.oauth else ""
    if provider is None or field not in opened:
        return False
    return consent.revoke(provider, opened[field], opened.get(renewal.REFRESH))


def _verifier(state: str) -> str:
    """Return the PKCE verifier (RFC 7636, 43 characters) that goes with a state."""
    return urlsafe_base64_encode(salted_hmac("digitalme.oauth.verifier", state, algorithm="sha256").digest())


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
