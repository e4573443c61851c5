"""Put an appsettings.json into effect, once, and take it back."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from apikeys import kept, keys, oauth, vault
from apikeys.models import Credential, KeptKey
from digitalme.accounts.models import User
from digitalme.audit import log as trail
from digitalme.audit.actions import Action
from digitalme.errors import InvalidRequest, NotFound
from digitalme.transfer import appsettings
from digitalme.transfer.appsettings import KeyWanted, LimitWanted
from digitalme.transfer.models import ImportTrace
from digitalme.transfer.no_counterpart import Note
from providers import registry
from providers.secrets import Secret
from quotas import tiers
from quotas.models import ALL_PROVIDERS, EACH_PROVIDER, Tier
from quotas.tiers import Terms

FINGERPRINT_LENGTH = 10
_PERIODS = {"demo": "a day", "daily": "a day", "monthly": "a month"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did, or would do; without a trace it changed nothing."""

    notes: list[Note]
    trace_id: UUID | None


@sensitive_variables("data")
def import_settings(data: bytes, name: str, *, actor: User | None, dry_run: bool, now: datetime) -> Imported:
    """Put the settings into effect in one transaction and say of each what it became.

    What holds already stays untouched, so a second run changes nothing. `actor` is None on the command
    line. Raises BadFile, and then nothing is changed.
    """
    wanted = appsettings.read(data, name)
    with transaction.atomic():
        run = _Import(actor, dry_run, now)
        notes = [run.apply(one) for one in wanted]
        if dry_run:
            transaction.set_rollback(True)  # the tier and the salt that were locked may have been made for it
        if dry_run or not run.entries:
            return Imported(notes, None)
        trace = ImportTrace.objects.create(source=name[-255:], entries=list(run.entries.values()), created_at=now)
        _record(Action.IMPORT_APPLIED, actor, len(trace.entries))
    log.info("Settings imported: trace %s, %s changes", trace.id, len(trace.entries))
    return Imported(notes, trace.id)


def _record(action: Action, actor: User | None, count: int) -> None:
    trail.record(action, target="import", subject="system", actor=actor.pk if actor else None, count=count)


class _Place(NamedTuple):
    """What tells one thing that can be changed from another."""

    kind: str
    type: str
    provider: str


class _Import:
    """One import; `entries` is what its trace will hold."""

    def __init__(self, actor: User | None, dry_run: bool, now: datetime) -> None:
        self.actor, self.dry_run, self.now = actor, dry_run, now
        # Both locks at once and in one order: of two imports the second sees all of the first.
        self.tier = tiers.lock_default()
        kept.lock_house()
        self.entries: dict[_Place, dict[str, Any]] = {}

    def apply(self, wanted: appsettings.Wanted) -> Note:
        if isinstance(wanted, KeyWanted):
            return self._key(wanted)
        if isinstance(wanted, LimitWanted):
            return self._limit(wanted)
        return wanted

    def _key(self, wanted: KeyWanted) -> Note:
        provider, secrets = wanted.provider, wanted.secrets
        becomes = f"the house's key for {provider.name}, {_recognised(provider.slug, secrets)}"
        if settings.DIGITALME_SYSTEM_KEYS.get(provider.slug):
            becomes += f"; it comes before DIGITALME_SYSTEM_KEY_{provider.slug.upper()}"
        present = kept.key_of_house(provider.slug)
        if present and kept.same(present, secrets):
            why = "" if present.is_active else "it is switched off here and stays so"
            return Note(wanted.setting, becomes, "unchanged", why)
        if not self.dry_run:
            self._set(wanted, present)
        return Note(wanted.setting, becomes, "changed" if present else "new")

    def _set(self, wanted: KeyWanted, present: Credential | None) -> None:
        before = str(kept.keep(present, now=self.now).id) if present else None
        credential = keys.set_key(
            actor=self.actor, owner=keys.SYSTEM, provider=wanted.provider, fields=dict(wanted.fields)
        )
        self.entries[_Place("key", "", wanted.provider.slug)] = {
            "kind": "key",
            "provider": wanted.provider.slug,
            "kept": before,
            "credential": str(credential.id),
            "version": credential.version,
        }

    def _limit(self, wanted: LimitWanted) -> Note:
        becomes = _described(wanted, self.tier)
        present = tiers.terms(self.tier, wanted.type, wanted.provider)
        base = present or tiers.effective(self.tier, wanted.type, wanted.provider) or Terms()
        changed: dict[str, Any] = {wanted.amount: wanted.value}
        terms = replace(base, **changed)
        if present == terms:
            return Note(wanted.setting, becomes, "unchanged")
        if not self.dry_run:
            self._put(wanted, present, terms)
        return Note(wanted.setting, becomes, "changed" if present else "new")

    def _put(self, wanted: LimitWanted, present: Terms | None, terms: Terms) -> None:
        tiers.set_limit(
            actor=self.actor, tier=self.tier, type=wanted.type, provider=wanted.provider, terms=terms, now=self.now
        )
        entry = {
            "kind": "limit",
            "tier": self.tier.slug,
            "type": str(wanted.type),
            "provider": wanted.provider,
            "before": present.as_json() if present else None,
        }
        place = _Place("limit", wanted.type, wanted.provider)
        self.entries[place] = {**self.entries.get(place, entry), "after": terms.as_json()}


def undo(trace_id: UUID, *, actor: User | None, force: bool, now: datetime) -> list[Note]:
    """Bring back what was there before an import, and say what that is.

    Raises NotFound for an unknown trace; InvalidRequest if it is undone already, if one of the things was
    changed since (unless `force`), or if a former key is kept no longer. Then nothing is changed.
    """
    with transaction.atomic():
        tiers.lock_default()
        kept.lock_house()
        trace = ImportTrace.objects.select_for_update().filter(id=trace_id).first()
        if trace is None:
            raise NotFound(f"There is no import {trace_id}.")
        if trace.undone_at:
            raise InvalidRequest(f"This import was undone at {trace.undone_at:%Y-%m-%d %H:%M} UTC.")
        steps = [_step(entry) for entry in trace.entries]
        changed = [step.name for step in steps if step.is_changed_since()]
        if changed and not force:
            raise InvalidRequest(
                f"Changed since the import: {', '.join(changed)}. --force brings back what was before all the same."
            )
        notes = [step.back(actor, now) for step in reversed(steps)]
        trace.undone_at = now
        trace.save(update_fields=["undone_at"])
        _record(Action.IMPORT_REVERTED, actor, len(trace.entries))
    log.info("Import undone: trace %s", trace.id)
    return notes


@dataclass(frozen=True, slots=True)
class _KeyStep:
    """A key of the house that an import set."""

    entry: dict[str, Any]

    @property
    def name(self) -> str:
        return f"the house's key for {self.entry['provider']}"

    def is_changed_since(self) -> bool:
        present = kept.key_of_house(self.entry["provider"])
        if present is None:
            return True
        left = (self.entry["credential"], self.entry["version"], True)
        return (str(present.id), present.version, present.is_active) != left

    def back(self, actor: User | None, now: datetime) -> Note:
        if self.entry["kept"] is None:
            present = kept.key_of_house(self.entry["provider"])
            if present:
                oauth.remove_on_commit(actor=actor, credential=present)
            return Note(self.name, "nothing, as before", "changed" if present else "unchanged")
        former = KeptKey.objects.filter(id=self.entry["kept"]).select_related("salt").first()
        if former is None:
            raise InvalidRequest(
                f"What was before {self.name} is kept no longer than {kept.KEEP.days} days. Set the key anew: set_key."
            )
        credential = kept.bring_back(former, actor=actor)
        return Note(self.name, f"the former one, {_shown(credential)}", "changed")


@dataclass(frozen=True, slots=True)
class _LimitStep:
    """A limit of a tier that an import set."""

    entry: dict[str, Any]

    @property
    def name(self) -> str:
        of = {ALL_PROVIDERS: "", EACH_PROVIDER: " for each provider"}.get(
            self.entry["provider"], f" for {self.entry['provider']}"
        )
        return f"the {self.entry['type']} limit{of} of the tier {self.entry['tier']}"

    def is_changed_since(self) -> bool:
        tier = self._tier()
        after = Terms.from_json(self.entry["after"])
        return tier is None or tiers.terms(tier, self.entry["type"], self.entry["provider"]) != after

    def back(self, actor: User | None, now: datetime) -> Note:
        tier, before = self._tier(), self.entry["before"]
        if tier is None:
            return Note(self.name, "nothing", "ignored", "the tier is gone")
        terms = Terms.from_json(before) if before else None
        tiers.set_limit(
            actor=actor, tier=tier, type=self.entry["type"], provider=self.entry["provider"], terms=terms, now=now
        )
        return Note(self.name, _amounts(terms) if terms else "nothing, as before", "changed")

    def _tier(self) -> Tier | None:
        return Tier.objects.filter(slug=self.entry["tier"]).first()


def _step(entry: dict[str, Any]) -> _KeyStep | _LimitStep:
    return _KeyStep(entry) if entry["kind"] == "key" else _LimitStep(entry)


def _recognised(slug: str, secrets: dict[str, Secret]) -> str:
    """Return what tells the key from others, and nothing that helps to guess it."""
    main = registry.get(slug).manifest.main(secrets)
    return _shown_as(vault.fingerprint(f"owner:{keys.SYSTEM}", slug, main), keys.hint(main))


def _shown(credential: Credential) -> str:
    return _shown_as(credential.fingerprint, credential.hint)


def _shown_as(fingerprint: str, hint: str) -> str:
    return f"fingerprint {fingerprint[:FINGERPRINT_LENGTH]}" + (f", ends in {hint}" if hint else "")


def _described(wanted: LimitWanted, tier: Tier) -> str:
    each = {ALL_PROVIDERS: "all providers together", EACH_PROVIDER: "each provider"}
    whom = each.get(wanted.provider, wanted.provider)
    value = f"{wanted.value:,}" + (" US dollars" if wanted.amount == "cost" else f" {wanted.amount}")
    return f"{wanted.type} limit of the tier {tier.slug}: {value} {_PERIODS[wanted.type]} for {whom}"


def _amounts(terms: Terms) -> str:
    given: Iterable[tuple[str, Any]] = (
        ("requests", terms.requests),
        ("tokens", terms.tokens),
        ("US dollars", terms.cost),
    )
    said = [f"{value:,} {name}" for name, value in given if value is not None]
    return ", ".join(said) or "unlimited"
