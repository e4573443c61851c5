"""Add, replace, switch off and remove keys."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from apikeys import keyring, vault
from apikeys.keyring import KeyRing
from apikeys.models import Credential, OwnerSalt
from apikeys.vault import Context
from digitalme.accounts.models import Team, User
from digitalme.database import uuid7
from digitalme.errors import InvalidKeyFormat, InvalidRequest, KeyNotFound
from providers import auth
from providers.registry import Provider
from providers.secrets import Secret

MIN_LENGTH_FOR_HINT = 20


@dataclass(frozen=True, slots=True)
class Owner:
    """Who a key belongs to: one user, one team, or the house."""

    user: User | None = None
    team: Team | None = None

    @property
    def name(self) -> str:
        """The immutable name that the vault binds secrets to."""
        if self.user:
            return f"user:{self.user.id}"
        return f"team:{self.team.id}" if self.team else "system"

    @property
    def lookup(self) -> dict[str, object]:
        """The columns of Credential that say so."""
        return {"user": self.user, "team": self.team, "is_system": self.user is None and self.team is None}


SYSTEM = Owner()


def set_key(
    *, owner: Owner, provider: Provider, fields: Mapping[str, str], label: str = "", display_name: str = ""
) -> tuple[Credential, bool]:
    """Add the owner's key for a provider, or replace it; return it and whether it is new.

    The very next call uses it. Raises InvalidKeyFormat, without the value in its message, if a field
    cannot be what the provider gives out, and InvalidRequest if a field is missing or unknown.
    """
    secrets = checked(provider, fields)
    try:
        return _set_key(owner, provider, secrets, label, display_name)
    except IntegrityError:  # somebody added the same one a moment ago: now it can be replaced
        return _set_key(owner, provider, secrets, label, display_name)


def checked(provider: Provider, fields: Mapping[str, str]) -> dict[str, Secret]:
    """Return the fields as secrets, each of them clean and of the provider's form."""
    known = {field.name: field for field in provider.manifest.fields}
    if not known:
        raise InvalidRequest(f"{provider.name} needs no key.")
    if unknown := set(fields) - set(known):
        raise InvalidRequest(f"{provider.name} has no field {', '.join(sorted(unknown))!r}.")
    secrets = {}
    for name, field in known.items():
        value = auth.clean_key(fields.get(name, ""))
        auth.check_format(field, value)
        secrets[name] = Secret(value)
    return secrets


@transaction.atomic
def _set_key(
    owner: Owner, provider: Provider, secrets: Mapping[str, Secret], label: str, display_name: str
) -> tuple[Credential, bool]:
    ring = keyring.ring()
    salt, _ = OwnerSalt.objects.get_or_create(owner=owner.name, defaults={"salt": vault.new_salt()})
    place = {**owner.lookup, "provider": provider.slug, "label": label}
    credential = Credential.objects.select_for_update().filter(**place).first()
    is_new = credential is None
    if credential is None:
        credential = Credential(id=uuid7(), version=0, **place)
    credential.version += 1
    credential.salt = salt
    credential.destination = list(provider.destination)
    credential.sealed = {name: _sealed(ring, credential, name, secret) for name, secret in secrets.items()}
    credential.key_id = ring.sealing_id
    first = next(iter(secrets.values()))
    credential.fingerprint = vault.fingerprint(ring, owner.name, provider.slug, first)
    credential.fingerprint_key_id = ring.fingerprint_id
    credential.hint = hint(first)
    credential.display_name = display_name or credential.display_name
    credential.is_active = True
    credential.status, credential.status_detail = Credential.Status.UNKNOWN, ""
    credential.last_validated_at = credential.expires_at = None
    credential.save(force_insert=is_new)
    return credential, is_new


def _sealed(ring: KeyRing, credential: Credential, field: str, secret: Secret) -> str:
    context = Context(
        credential.owner, credential.provider, field, credential.id, credential.version, tuple(credential.destination)
    )
    return base64.b64encode(vault.seal(ring, secret, context, bytes(credential.salt.salt))).decode()


def hint(secret: Secret) -> str:
    """Return the last four characters of a long key; of a short one, which may be a password, nothing."""
    value = secret.reveal()
    return value[-4:] if len(value) >= MIN_LENGTH_FOR_HINT else ""


def set_active(credential: Credential, active: bool) -> None:
    """Switch a key on or off; off, it starts no further call, and none falls back to the house's key."""
    Credential.objects.filter(id=credential.id).update(is_active=active)
    credential.is_active = active


def remove(credential: Credential) -> None:
    """Delete a key for good. What it was used for stays in the records."""
    credential.delete()


def keys_of(user: User) -> QuerySet[Credential]:
    """Return a person's own keys."""
    return Credential.objects.filter(user=user).order_by("provider", "label")


def key_of(user: User, provider: str, label: str = "") -> Credential:
    """Return a person's own key for a provider. Raises KeyNotFound."""
    credential = keys_of(user).filter(provider=provider, label=label).first()
    if credential is None:
        raise KeyNotFound("You have no key of your own for this provider.")
    return credential


def system_keys() -> QuerySet[Credential]:
    """Return the house's keys that are kept in the database."""
    return Credential.objects.filter(is_system=True).order_by("provider", "label")


def system_key_ids() -> dict[str, UUID]:
    """Return the house's active keys by provider."""
    return dict(system_keys().filter(is_active=True).values_list("provider", "id"))


__all__ = ["SYSTEM", "InvalidKeyFormat", "Owner", "checked", "key_of", "keys_of", "remove", "set_active", "set_key"]
