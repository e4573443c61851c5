"""Keep a key of the house, sealed as it is, before an import replaces it, and bring it back."""

import base64
import binascii
import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from apikeys import keyring, keys, masters, vault
from apikeys.models import Credential, KeptKey, OwnerSalt
from apikeys.vault import Context, CredentialUnreadable
from digitalme.accounts.models import User
from digitalme.errors import InvalidRequest
from providers import registry
from providers.secrets import Secret

KEEP = timedelta(days=30)
# What a fresh seal makes anew, or what says whose and when.
_REMADE = frozenset({"salt", "sealed", "key_id", "destination", "version", "fingerprint", "fingerprint_key_id", "hint"})
_WHOSE_AND_WHEN = frozenset(
    {"id", "user", "team", "is_system", "provider", "label", "created_at", "updated_at", "last_used_at"}
)

log = logging.getLogger(__name__)


def lock_house() -> None:
    """Let nobody else change a key of the house until the end of the transaction."""
    owner = str(keys.SYSTEM)
    OwnerSalt.objects.get_or_create(owner=owner, defaults={"salt": vault.new_salt()})
    OwnerSalt.objects.select_for_update().get(owner=owner)


def key_of_house(slug: str) -> Credential | None:
    """Return the house's key for a provider, as far as it is kept in the database."""
    return keys.system_keys().filter(provider=slug, label="").select_related("salt").first()


def same(credential: Credential, secrets: dict[str, Secret]) -> bool:
    """Tell whether the stored key has exactly these fields; one that cannot be read has not."""
    try:
        return _opened(credential, credential.id) == secrets
    except CredentialUnreadable:
        return False


def readable(row: Credential | KeptKey) -> bool:
    """Tell whether a stored key opens with the masters that are here, whatever its provider is today."""
    try:
        _opened(row, row.id if isinstance(row, Credential) else row.credential_id)
    except CredentialUnreadable:
        return False
    return True


def keep(credential: Credential, *, now: datetime) -> KeptKey:
    """Put a sealed copy aside; nothing is opened for it. To be called in the transaction that replaces the key."""
    masters.sealing_id()  # holds up a retirement that would not see this row yet
    credential.refresh_from_db()
    facts = {
        field.name: None if field.value_from_object(credential) is None else field.value_to_string(credential)
        for field in Credential._meta.concrete_fields
        if field.name not in _REMADE | _WHOSE_AND_WHEN
    }
    return KeptKey.objects.create(
        credential_id=credential.id,
        provider=credential.provider,
        salt=credential.salt,
        sealed=credential.sealed,
        key_id=credential.key_id,
        destination=credential.destination,
        version=credential.version,
        facts=facts,
        kept_at=now,
    )


@transaction.atomic
def bring_back(kept: KeptKey, *, actor: User | None) -> Credential:
    """Make the kept key the house's key again, and keep it aside no longer.

    It is opened as it was sealed and sealed anew under a version that never was, so that nothing which
    remembers a version takes one secret for the other. Raises InvalidRequest if its master key is not
    here any more.
    """
    lock_house()
    sealing_id = masters.sealing_id()
    if kept.key_id not in keyring.ring():
        raise InvalidRequest(
            f"The former key of {kept.provider} was sealed by the master key '{kept.key_id}', which is not here. "
            "Add that to DIGITALME_MASTER_KEYS."
        )
    secrets = _opened(kept, kept.credential_id)
    present = key_of_house(kept.provider)
    credential = present or Credential(id=kept.credential_id, provider=kept.provider, version=0, **keys.SYSTEM.columns)
    for field in Credential._meta.concrete_fields:
        if field.name in kept.facts:
            setattr(credential, field.name, field.to_python(kept.facts[field.name]))
    credential.version = max(credential.version, kept.version) + 1
    credential.salt, credential.destination = kept.salt, kept.destination
    credential.key_id = sealing_id
    credential.sealed = {name: _sealed(credential, name, secret) for name, secret in secrets.items()}
    main = _main(kept.provider, secrets)
    credential.fingerprint = vault.fingerprint(f"owner:{keys.SYSTEM}", kept.provider, main)
    credential.fingerprint_key_id = keyring.ring().fingerprint_id
    credential.hint = keys.hint(main)
    credential.save()
    kept.delete()
    keys.record("set", credential, actor)
    log.info(
        "Key brought back: %s, id %s, version %s, by %s",
        credential,
        credential.id,
        credential.version,
        f"user:{actor.pk}" if actor else "the command line",
    )
    return credential


def forget_old(*, now: datetime) -> int:
    """Delete what was kept for longer than `KEEP`; return how many keys that were."""
    return KeptKey.objects.filter(kept_at__lt=now - KEEP).delete()[0]


def _opened(row: Credential | KeptKey, credential_id: Any) -> dict[str, Secret]:
    """Open every field under the row's own facts. Raises CredentialUnreadable."""
    owner, destination = row.salt_id, tuple(row.destination)
    found = {}
    for name, text in row.sealed.items():
        try:
            blob = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise CredentialUnreadable(credential_id) from None
        context = Context(owner, row.provider, name, credential_id, row.version, destination)
        found[name] = vault.open(blob, context, bytes(row.salt.salt))
    return found


def _sealed(credential: Credential, name: str, secret: Secret) -> str:
    context = Context(
        credential.owner, credential.provider, name, credential.id, credential.version, tuple(credential.destination)
    )
    blob = vault.seal(secret, context, bytes(credential.salt.salt), credential.key_id)
    return base64.b64encode(blob).decode()


def _main(slug: str, secrets: dict[str, Secret]) -> Secret:
    """Return the field that a key is recognised by."""
    return registry.get(slug).manifest.main(secrets)
