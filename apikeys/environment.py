"""The house's keys that come from the environment: tested by the clock as stored ones are. Of each there is kept what
came of it, and a fingerprint that tells whether it is still the same key; never the key."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from apikeys import keyring, letters, resolution, vault
from apikeys.models import Credential, EnvironmentKeyCheck
from apikeys.resolution import KeySource, ResolvedKey
from digitalme.audit import log as trail
from digitalme.audit.actions import Action
from digitalme.errors import InvalidKeyFormat
from providers import registry, validation
from providers.outcomes import Category, Outcome
from providers.registry import Provider

EVERY = timedelta(days=1)
_DEAD = frozenset({Category.INVALID, Category.EXPIRED, Category.MALFORMED})


@dataclass(frozen=True, slots=True)
class Standing:
    """One such key as staff see it: whether it is in use, and what came of its last test, None before the first of
    the key that is there now."""

    provider: Provider
    used: bool
    check: EnvironmentKeyCheck | None

    @property
    def outcome(self) -> str:
        """What came of its last test, in words."""
        return Category(self.check.category).name.replace("_", " ").capitalize() if self.check else "Not tested yet"


def standings() -> list[Standing]:
    """Return the house's keys of the environment, by provider."""
    there = _providers()
    if not there:
        return []
    checks = {one.provider: one for one in EnvironmentKeyCheck.objects.all()}
    stored = set(Credential.objects.filter(is_system=True, label="").values_list("provider", flat=True))
    found = []
    for provider in there:
        check = checks.get(provider.slug)
        known = check if check and (check.fingerprint, check.fingerprint_key_id) == _mark(provider) else None
        found.append(Standing(provider, provider.slug not in stored, known))
    return found


def run(*, now: datetime, end: float, clock: Callable[[], float] = time.monotonic) -> int:
    """Test the keys in use that were not tested within the last day, until `end`; tell those who manage the house's
    keys of dead ones, and return how many were tested. Safe to run twice."""
    tested = 0
    for standing in standings():
        due = standing.check is None or standing.check.checked_at <= now - EVERY
        if standing.used and due and clock() < end:
            tested += _test(standing, now)
    for check in EnvironmentKeyCheck.objects.filter(untold=True):
        _tell(check, now)
    return tested


def _providers() -> list[Provider]:
    given = settings.DIGITALME_SYSTEM_KEYS
    known = filter(resolution.house_serves, registry.all_providers())
    return [one for one in known if given.get(one.slug) and one.needs_key]


@sensitive_variables("fields")
def _mark(provider: Provider) -> tuple[str, str]:
    """Return the fingerprint of the key that is there now, and which key made it."""
    try:
        fields = resolution.unseal(ResolvedKey(KeySource.SYSTEM, provider.slug, plain_env=True))
    except InvalidKeyFormat:
        return "", ""
    mark = vault.fingerprint("owner:system", provider.slug, next(iter(fields.values())))
    return mark, keyring.ring().fingerprint_id


@sensitive_variables("fields")
def _asked(provider: Provider) -> Outcome:
    try:
        fields = resolution.unseal(ResolvedKey(KeySource.SYSTEM, provider.slug, plain_env=True))
    except InvalidKeyFormat as problem:
        return Outcome(Category.MALFORMED, problem.message)
    return validation.check(provider, fields)


def _test(standing: Standing, now: datetime) -> bool:
    provider, mark = standing.provider, _mark(standing.provider)
    row, made = EnvironmentKeyCheck.objects.get_or_create(
        provider=provider.slug, defaults={"checked_at": now, "category": Category.UNAVAILABLE}
    )
    before = row.checked_at
    mine = made or EnvironmentKeyCheck.objects.filter(pk=row.pk, checked_at=before).update(checked_at=now)
    if not mine:
        return False
    outcome = _asked(provider)
    was_dead = standing.check is not None and standing.check.category in _DEAD
    died = outcome.category in _DEAD and not was_dead
    with transaction.atomic():
        EnvironmentKeyCheck.objects.filter(pk=row.pk).update(
            fingerprint=mark[0],
            fingerprint_key_id=mark[1],
            category=outcome.category,
            message=outcome.message[:300],
            checked_at=now,
            untold=died or (outcome.category in _DEAD and row.untold),
        )
        if died:
            trail.record(
                Action.SYSTEM_KEY_REJECTED,
                target=f"provider:{provider.slug}",
                subject="system",
                provider=provider.slug,
                category=outcome.category,
            )
    return True


@transaction.atomic
def _tell(check: EnvironmentKeyCheck, now: datetime) -> None:
    if EnvironmentKeyCheck.objects.filter(pk=check.pk, untold=True).update(untold=False):
        text = f"{check.message} Calls of people without a key of their own fail until it is replaced."
        letters.tell_house("environment_key_rejected", check.provider, text=text, now=now, check=check)
