"""What somebody granted at a provider, given back there when the key that holds it goes: it is replaced or removed, or
its owner is deleted. At best: the key is gone whatever the provider says."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import transaction
from django.db.models import QuerySet
from django.views.decorators.debug import sensitive_variables

from apikeys import resolution
from apikeys.models import Consent, Credential
from apikeys.vault import CredentialUnreadable
from digitalme.accounts.models import User
from digitalme.audit import log as trail
from digitalme.audit.actions import Action
from digitalme.errors import DigitalMeError, NotFound
from providers import consent, registry
from providers.registry import Provider
from providers.secrets import Secret

# Beside the fields of the definition, what is sealed of a consent: see renewal.
REFRESH, EXPIRY = "oauth_refresh_token", "oauth_expires_at"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant that has not ended, and whose it was. Without `access` it cannot be given back from here: the key does
    not open, or the provider cannot be asked."""

    target: str
    owner: str
    slug: str
    version: int
    provider: Provider | None = None
    access: Secret | None = None
    refresh: Secret | None = None

    @property
    def whole(self) -> bool:
        """Whether to give it back ends everything that the person granted to this server there."""
        how = self.provider.manifest.oauth.revoke if self.provider and self.provider.manifest.oauth else None
        return how is not None and how.whole


def consent_of(credential: Credential) -> Consent | None:
    """Return what a key was granted by; None for one that was entered."""
    return Consent.objects.filter(credential=credential.id, version=credential.version).first()


@sensitive_variables("opened")
def of(credential: Credential) -> Grant | None:
    """Return the grant behind a stored key; None for one that was entered, or whose grant has ended."""
    granted = consent_of(credential)
    if granted is None or granted.ended_at is not None:
        return None
    known = Grant(f"credential:{credential.id}", credential.owner, credential.provider, credential.version)
    try:
        provider = registry.get(credential.provider)
        opened = resolution.unseal(resolution.resolved(credential)) if consent.available(provider) else {}
    except (CredentialUnreadable, NotFound):
        log.warning("A grant cannot be ended, since the key does not open: %s", credential.id)
        return known
    field = provider.manifest.oauth.field if provider.manifest.oauth else ""
    return Grant(known.target, known.owner, known.slug, known.version, provider, opened.get(field), opened.get(REFRESH))


def end(grant: Grant, *, actor: User | None) -> bool:
    """Have the provider end a grant, write that down, and tell whether it did. Blocking; never raises for what the
    provider does, nor if it cannot be written down: nothing can be undone here."""
    ended = False
    if grant.provider and grant.access:
        ended = consent.revoke(grant.provider, grant.access, grant.refresh)
    try:
        with transaction.atomic():
            trail.record(
                Action.SYSTEM_KEY_GRANT_ENDED if grant.owner == "system" else Action.CREDENTIAL_GRANT_ENDED,
                target=grant.target,
                subject=grant.owner,
                actor=actor.pk if actor else None,
                provider=grant.slug,
                version=grant.version,
                upstream=ended,
            )
    except DigitalMeError as problem:
        log.warning("That a grant was ended is not in the trail: %s, %s", grant.target, problem.code)
    return ended


def end_on_commit(these: Iterable[Grant | None], *, actor: User | None) -> None:
    """Give grants back once what ends them is committed; a failure there undoes nothing."""
    for grant in these:
        if grant is not None:
            transaction.on_commit(lambda grant=grant: _end(grant, actor), robust=True)  # type: ignore[misc]


def _end(grant: Grant, actor: User | None) -> None:
    end(grant, actor=actor)


@contextmanager
def given_back(held: QuerySet[Credential], *, actor: User | None) -> Iterator[None]:
    """Do in this block what deletes these keys, such as to delete their owner; their grants are given back when that
    is committed, and not if it fails."""
    granted = held.filter(consent__ended_at=None, consent__isnull=False).select_related("salt")
    found = [of(credential) for credential in granted]
    yield
    end_on_commit(found, actor=actor)
