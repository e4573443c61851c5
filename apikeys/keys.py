"""Add, replace, switch off and remove keys. Plaintext passes through here on its way to the vault only."""

import base64
import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from apikeys import grants, keyring, masters, resolution, terms, vault
from apikeys.models import Credential, OwnerSalt
from apikeys.terms import Terms
from apikeys.vault import Context, CredentialUnreadable
from digitalme import logs
from digitalme.accounts import team_news
from digitalme.accounts.models import User
from digitalme.audit import log as trail
from digitalme.audit.actions import Action
from digitalme.errors import InvalidKeyFormat, InvalidRequest, KeyNotFound
from providers import adapters, auth, registry
from providers.registry import Provider
from providers.secrets import Secret

MIN_LENGTH_FOR_HINT = 20
HINT_LENGTH = 4

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Owner:
    """Who a key belongs to: one user, one team, or the house, which has no id."""

    kind: Literal["user", "team", "system"]
    id: UUID | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("user", "team", "system") or (self.id is None) != (self.kind == "system"):
            raise ValueError("An owner is a user or a team with its id, or the system without one.")

    def __str__(self) -> str:
        """The immutable name that the vault binds secrets to."""
        return "system" if self.kind == "system" else f"{self.kind}:{self.id}"

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of Credential that say so."""
        return {
            "user_id": self.id if self.kind == "user" else None,
            "team_id": self.id if self.kind == "team" else None,
            "is_system": self.kind == "system",
        }


SYSTEM = Owner("system")


@sensitive_variables("fields", "secrets")
def set_key(
    *,
    actor: User | None,
    owner: Owner,
    provider: Provider,
    fields: Mapping[str, str],
    label: str = "",
    display_name: str = "",
    expires_at: datetime | None = None,
    rotate_by: date | None = None,
    keep: bool = False,
) -> Credential:
    """Add the owner's key for a provider, or replace it under the same id; the very next call uses it.

    `actor` is who does it, None for the command line; with `keep`, required secrets that are left empty stay
    as they are stored. The `same_as` of what is returned tells whether this owner had the same secret
    here already. Raises InvalidKeyFormat, which never has the value, for a field that cannot be what
    the provider gives out (data["field"] names it), InvalidRequest for unknown fields, a label or terms
    that cannot be, or a provider that needs no key, and AuditUnavailable, as every change here, if it
    cannot be written down: then nothing has changed.
    """
    terms.check_label(provider, label)
    if owner.kind == "system" and not resolution.house_serves(provider):
        raise InvalidRequest(f"Keys of {provider.name} are a user's or a team's own; the house has none.")
    agreed = Terms(display_name, expires_at, rotate_by)
    terms.check(agreed, now=timezone.now())
    kept, sealed_for = _kept(owner, provider, label, fields) if keep else ({}, ())
    secrets = checked(provider, fields, kept)
    if kept and adapters.destination(provider, secrets) != sealed_for:
        # Else whoever may change the address could have the secret sent to one of their own.
        raise InvalidKeyFormat("It goes to another place now, so enter this one again.", field=next(iter(kept)))
    return put(actor=actor, owner=owner, provider=provider, label=label, secrets=secrets, agreed=agreed)


def put(
    *,
    actor: User | None,
    owner: Owner,
    provider: Provider,
    secrets: Mapping[str, Secret],
    label: str = "",
    agreed: Terms | None = None,
    granted: bool = False,
) -> Credential:
    """Store fields that are known to be good as the owner's key, or in the place of the one there is; they are
    tokens if the owner `granted` them. What was granted before is given back."""
    salt = _salt(owner)
    vault.warm_up(str(owner), bytes(salt.salt))
    with transaction.atomic():
        # The salt's row stands for the owner: of two changes at once the second waits here and then sees
        # the first, also where there was no key to lock before.
        OwnerSalt.objects.select_for_update().get(owner=salt.owner)
        present = stored(owner, provider.slug, label)
        former = grants.of(present) if present else None
        credential = _store(actor, owner, salt, provider, label, secrets, agreed or Terms("", None, None), present)
        # Where the provider ends all that the same person granted, the new grant would end with the old one.
        if former and not (granted and former.whole):
            grants.end_on_commit([former], actor=actor)
    log.info("Key set: %s", _facts(credential, actor))
    return credential


def _kept(
    owner: Owner, provider: Provider, label: str, fields: Mapping[str, str]
) -> tuple[dict[str, Secret], tuple[str, ...]]:
    """Return the stored secret fields for which nothing is given, and the places that they were sealed for. One
    that does not open is asked for anew."""
    present = stored(owner, provider.slug, label)
    movable = adapters.own_destination(provider)
    wanted = [one.name for one in provider.manifest.fields if one.secret and (one.required or movable)]
    empty = [name for name in wanted if not fields.get(name, "").strip()]
    if present is None or not empty:
        return {}, ()
    try:
        opened = resolution.unseal(resolution.resolved(present))
    except CredentialUnreadable:
        return {}, ()
    return {name: opened[name] for name in empty if name in opened}, tuple(present.destination)


@sensitive_variables("fields", "found")
def checked(
    provider: Provider, fields: Mapping[str, str], kept: Mapping[str, Secret] | None = None
) -> dict[str, Secret]:
    """Return the fields as secrets, each of them clean and of the provider's form; those in `kept` are
    taken as they are. Raises as set_key."""
    if not provider.needs_key:
        raise InvalidRequest(f"{provider.name} needs no key.")
    known = [field.name for field in provider.manifest.fields]
    if set(fields) - set(known):
        raise InvalidRequest(f"A key of {provider.name} has these fields and no others: {', '.join(known)}.")
    found = {}
    for field in provider.manifest.fields:
        if kept and field.name in kept:
            found[field.name] = kept[field.name]
            continue
        logs.watch(fields.get(field.name, "").strip())
        if not field.required and not fields.get(field.name, "").strip():
            continue
        try:
            value = auth.clean(field, fields.get(field.name, ""))
            auth.check_format(field, value)
        except InvalidKeyFormat as error:
            raise InvalidKeyFormat(error.message, **{**error.data, "field": field.name}) from None
        found[field.name] = Secret(value)
    adapters.check_fields(provider, found)
    return found


def _salt(owner: Owner) -> OwnerSalt:
    salt, _ = OwnerSalt.objects.get_or_create(owner=str(owner), defaults={"salt": vault.new_salt()})
    return salt


def _store(
    actor: User | None,
    owner: Owner,
    salt: OwnerSalt,
    provider: Provider,
    label: str,
    secrets: Mapping[str, Secret],
    agreed: Terms,
    present: Credential | None,
) -> Credential:
    place: dict[str, Any] = {**owner.columns, "provider": provider.slug, "label": label}
    credential = present or Credential(**place, version=0)
    credential.version += 1
    credential.salt = salt
    credential.destination = list(adapters.destination(provider, secrets))
    credential.key_id = masters.sealing_id()
    credential.sealed = {name: _sealed(credential, name, secret) for name, secret in secrets.items()}
    main = provider.manifest.main(secrets)
    fingerprint, fingerprint_id = (
        vault.fingerprint(f"owner:{owner}", provider.slug, main),
        keyring.ring().fingerprint_id,
    )
    alike = Credential.objects.filter(
        **owner.columns, provider=provider.slug, fingerprint=fingerprint, fingerprint_key_id=fingerprint_id
    )
    credential.same_as = min(alike, key=lambda one: one.id != credential.id, default=None)
    credential.fingerprint, credential.fingerprint_key_id = fingerprint, fingerprint_id
    credential.hint = hint(main)
    credential.display_name = agreed.display_name or credential.display_name
    credential.is_active = True
    credential.status, credential.status_detail = Credential.Status.UNKNOWN, ""
    credential.last_validated_at = credential.reminded_days = None
    credential.checked_at = credential.last_check = None
    credential.untold = False
    credential.expires_at = agreed.expires_at
    credential.rotate_by = agreed.rotate_by or terms.rotation_day(timezone.now().date())
    credential.save()
    record("set", credential, actor)
    return credential


def _sealed(credential: Credential, field: str, secret: Secret) -> str:
    context = Context(
        credential.owner, credential.provider, field, credential.id, credential.version, tuple(credential.destination)
    )
    blob = vault.seal(secret, context, bytes(credential.salt.salt), credential.key_id)
    return base64.b64encode(blob).decode()


def hint(secret: Secret) -> str:
    """Return the last four characters of a long key; of a short one, which may be a password, nothing, and nothing
    of a file, which ends as all of them do."""
    value = secret.reveal()
    return value[-HINT_LENGTH:] if len(value) >= MIN_LENGTH_FOR_HINT and not value.startswith("{") else ""


def reseal_fields(credential: Credential, provider: Provider, secrets: Mapping[str, Secret]) -> None:
    """Put other tokens into a key that stays the same one: its version stays, so what runs on it goes on.

    To be called in a transaction that holds the row.
    """
    credential.key_id = masters.sealing_id()
    main = provider.manifest.main(secrets)
    facts = {
        "key_id": credential.key_id,
        "sealed": {name: _sealed(credential, name, secret) for name, secret in secrets.items()},
        "fingerprint": vault.fingerprint(f"owner:{credential.owner}", provider.slug, main),
        "fingerprint_key_id": keyring.ring().fingerprint_id,
        "hint": hint(main),
        "updated_at": timezone.now(),
    }
    Credential.objects.filter(id=credential.id).update(**facts)


@transaction.atomic
def change_terms(
    *,
    actor: User | None,
    credential: Credential,
    provider: Provider,
    label: str | None = None,
    agreed: Terms,
) -> None:
    """Give a stored key another name, end, day of replacement or label; its secret and version stay, so
    running calls go on. Raises InvalidRequest, also if another key of the owner has the label."""
    label = credential.label if label is None else label
    terms.check_label(provider, label)
    unchanged = Terms(agreed.display_name, *_ends_changed(credential, agreed))
    terms.check(unchanged, now=timezone.now())
    others = Credential.objects.filter(
        user=credential.user_id, team=credential.team_id, is_system=credential.is_system, provider=provider.slug
    )
    OwnerSalt.objects.select_for_update().get(owner=credential.salt_id)
    if others.exclude(id=credential.id).filter(label=label).exists():
        raise InvalidRequest("Another key has this label. Choose another one.", field="label")
    facts = {
        "label": label,
        "display_name": agreed.display_name,
        "expires_at": agreed.expires_at,
        "rotate_by": agreed.rotate_by,
        "reminded_days": None,
        "updated_at": timezone.now(),
    }
    Credential.objects.filter(id=credential.id).update(**facts)
    credential.refresh_from_db(fields=list(facts))
    record("changed", credential, actor)
    log.info("Key's terms changed: %s", _facts(credential, actor))


def _ends_changed(credential: Credential, agreed: Terms) -> tuple[datetime | None, date | None]:
    """Return the ends that are new: one that is over may stay as it is."""
    return (
        None if agreed.expires_at == credential.expires_at else agreed.expires_at,
        None if agreed.rotate_by == credential.rotate_by else agreed.rotate_by,
    )


@sensitive_variables("opened")
def plain_fields(credential: Credential, provider: Provider) -> dict[str, str]:
    """Return the fields of a stored key that are no secrets, to be shown to its owner. One that does not open
    has none."""
    shown = [one.name for one in provider.manifest.fields if not one.secret]
    if not shown:
        return {}
    try:
        opened = resolution.unseal(resolution.resolved(credential))
    except CredentialUnreadable:
        return {}
    return {name: opened[name].reveal() for name in shown if name in opened}


@transaction.atomic
def set_active(*, actor: User | None, credential: Credential, active: bool) -> None:
    """Switch a key on or off. Off, it starts no further call, and none falls back to the house's key."""
    those = Credential.objects.filter(id=credential.id).exclude(is_active=active)
    changed = those.update(is_active=active, updated_at=timezone.now())
    credential.refresh_from_db(fields=["is_active", "updated_at"])
    if changed:
        record("enabled" if active else "disabled", credential, actor)
    log.info("Key switched %s: %s", "on" if active else "off", _facts(credential, actor))


@transaction.atomic
def remove(*, actor: User | None, credential: Credential) -> None:
    """Delete a key for good. What it was used for stays in the records. Where a grant may be behind it, oauth.remove
    is the way."""
    facts, kept = _facts(credential, actor), copy.copy(credential)
    credential.delete()
    record("removed", kept, actor)
    log.info("Key removed: %s", facts)


def stored(owner: Owner, slug: str, label: str = "") -> Credential | None:
    """Return an owner's key for a provider."""
    return Credential.objects.filter(**owner.columns, provider=slug, label=label).first()


def keys_of(user: User) -> QuerySet[Credential]:
    """Return a person's own keys, by provider."""
    return Credential.objects.filter(user=user).order_by("provider", "label")


def credential_for(user: User, slug: str, label: str = "") -> Credential | None:
    """Return a person's own key for a provider; anybody else's does not exist."""
    return keys_of(user).filter(provider=slug, label=label).first()


def key_of(user: User, slug: str, label: str = "") -> Credential:
    """Return a person's own key for a provider. Raises KeyNotFound."""
    credential = credential_for(user, slug, label)
    if credential is None:
        raise KeyNotFound("You have no key of your own for this provider.")
    return credential


def keys_of_team(team_id: UUID) -> QuerySet[Credential]:
    """Return the keys that a team shares, by provider."""
    return Credential.objects.filter(team_id=team_id).order_by("provider", "label")


def system_keys() -> QuerySet[Credential]:
    """Return the house's keys that are kept in the database, by provider."""
    return Credential.objects.filter(is_system=True).order_by("provider", "label")


# What the members of a team are told was done with one of its keys.
_NEWS = {"set": "set", "removed": "removed", "disabled": "switched off", "enabled": "switched on"}


def record(deed: str, credential: Credential, actor: User | None, **facts: Any) -> None:
    """Write into the audit trail what was done with a key; called last in the transaction of the change."""
    if credential.team_id and deed in _NEWS:
        names = {one.slug: one.name for one in registry.all_providers()}
        name = names.get(credential.provider, credential.provider)
        team_news.key_changed(credential.team_id, name, _NEWS[deed], actor)
    kind = "system_key" if credential.is_system else "credential"
    trail.record(
        Action(f"{kind}.{deed}"),
        target=f"credential:{credential.id}",
        subject=credential.owner,
        actor=actor.pk if actor else None,
        provider=credential.provider,
        version=credential.version,
        **facts,
    )


def _facts(credential: Credential, actor: User | None) -> str:
    who = f"user:{actor.pk}" if actor else "the command line"
    return f"{credential.provider} of {credential.owner}, id {credential.id}, version {credential.version}, by {who}"
