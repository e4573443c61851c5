"""Ask a provider whether it accepts a key, and remember what it said about a stored one."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from apikeys import attempts, keys, renewal, resolution, unreadable
from apikeys.models import Credential, KeyTest
from apikeys.vault import CredentialUnreadable
from digitalme.accounts.models import User
from digitalme.errors import DigitalMeError, KeyNotFound
from providers import registry, validation
from providers.outcomes import Category, Outcome
from providers.registry import Provider
from providers.secrets import Secret

# Only what the provider says about the key itself changes its standing: an outage, a rate limit or an
# empty account is no fault of the key.
_STATUS = {
    Category.VALID: Credential.Status.VALID,
    Category.LIMITED: Credential.Status.LIMITED,
    Category.INVALID: Credential.Status.INVALID,
    Category.EXPIRED: Credential.Status.EXPIRED,
}
DEAD = (Credential.Status.INVALID, Credential.Status.EXPIRED)
# How long a result answers for the next test of the same key; what judged nothing is asked again at once.
FRESH = timedelta(seconds=60)
_NOT_JUDGED = frozenset({Category.RATE_LIMITED, Category.UNAVAILABLE, Category.TIMEOUT, Category.NETWORK})
_DETAIL_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check came to, and when the provider was asked; `cached` if that was not just now."""

    category: Category
    message: str
    detail: dict[str, Any]
    latency_ms: int
    checked_at: datetime
    cached: bool = False


def test_credential(
    credential: Credential,
    *,
    actor: User | None = None,  # noqa: PT028
    force: bool = False,  # noqa: PT028
    now: datetime | None = None,  # noqa: PT028 (no test)
) -> Checked:
    """Test a stored key with its provider and store what came of it, unless it was replaced meanwhile.

    A result of the last minute about the same version answers again, unless `force`. Without `actor` it is
    whoever is signed in, or the command line. Raises QuotaExceeded if too much was tested (attempts.begin),
    CredentialUnreadable if the key does not open, and AuditUnavailable, having stored nothing, if the outcome
    cannot be written down.
    """
    now = now or timezone.now()
    if not force and (found := _fresh(credential, now)):
        return found
    provider = registry.get(credential.provider)
    attempt = attempts.begin(actor, provider, now=now)
    try:
        outcome = _ask(provider, credential, attempt)
    except KeyNotFound:  # an access by consent that has ended: whoever asked is told here and needs no mail
        Credential.objects.filter(id=credential.id, version=credential.version).update(untold=False)
        raise
    with transaction.atomic():
        _remember(credential, outcome, now)
        keys.record("tested", credential, actor, category=outcome.category)
    return _checked(outcome, now)


def check_again(credential: Credential, *, now: datetime) -> Checked:
    """Test a stored key without anybody asking. If the provider rejects what it accepted before, that is written
    into the trail, and the owner is to be told. Raises as test_credential, but for QuotaExceeded."""
    was = credential.status
    outcome = _ask(registry.get(credential.provider), credential)
    with transaction.atomic():
        if _remember(credential, outcome, now) and credential.status in DEAD and was not in DEAD:
            Credential.objects.filter(id=credential.id, version=credential.version).update(untold=True)
            keys.record("rejected", credential, None, category=outcome.category)
    return _checked(outcome, now)


@sensitive_variables("fields")
def _ask(provider: Provider, credential: Credential, attempt: KeyTest | None = None) -> Outcome:
    """Open the key and ask about it; what came of an attempt is noted whatever happens next."""
    try:
        fields = _opened(provider, credential)
    except DigitalMeError:
        if attempt:
            attempt.delete()
        raise
    outcome = validation.check(provider, fields)
    if attempt:
        attempts.end(attempt, outcome.category, asked=validation.was_asked(provider, outcome))
    return outcome


@sensitive_variables("fields")
def _opened(provider: Provider, credential: Credential) -> Mapping[str, Secret]:
    """Return the fields to ask with: of a consent with a fresh token. A key with which tokens are fetched
    stays as it is: then to get one is the test itself."""
    key = resolution.resolved(credential)
    try:
        fields = resolution.unseal(key)
    except CredentialUnreadable:
        unreadable.report(key)
        raise
    if provider.manifest.signer_of(fields):
        return fields
    return renewal.usable(renewal.fresh(key, fields))


def _fresh(credential: Credential, now: datetime) -> Checked | None:
    """Return the last result, if it is of this version and not older than FRESH."""
    last, at = credential.last_check, credential.checked_at
    if not last or at is None or last["version"] != credential.version or not timedelta(0) <= now - at < FRESH:
        return None
    category = Category(last["category"])
    if category in _NOT_JUDGED:
        return None
    return Checked(category, last["message"], last["detail"], last["latency_ms"], at, cached=True)


def _checked(outcome: Outcome, now: datetime) -> Checked:
    return Checked(outcome.category, outcome.message, outcome.detail, outcome.latency_ms, now)


def _remember(credential: Credential, outcome: Outcome, now: datetime) -> bool:
    """Store an outcome; tell whether it was: not about a version that is no more."""
    facts: dict[str, Any] = {"checked_at": now, "last_check": _kept(credential, outcome)}
    if status := _STATUS.get(outcome.category):
        facts |= {"status": status, "status_detail": outcome.message[:_DETAIL_LENGTH], "last_validated_at": now}
        if status not in DEAD:
            facts["untold"] = False
        if (end := _end(outcome.detail.get("expires"))) is not None:
            facts["expires_at"] = end
    if not Credential.objects.filter(id=credential.id, version=credential.version).update(**facts):
        return False
    credential.refresh_from_db(fields=list(facts))
    return True


def _kept(credential: Credential, outcome: Outcome) -> dict[str, Any]:
    return {
        "version": credential.version,
        "category": outcome.category.value,
        "message": outcome.message,
        "detail": outcome.detail,
        "latency_ms": outcome.latency_ms,
    }


def _end(told: object) -> datetime | None:
    """Return when a provider says that the key expires, if it does and it can be read."""
    try:
        end = datetime.fromisoformat(str(told).replace(" UTC", "+00:00"))
    except ValueError:
        return None
    return end if end.tzinfo else end.replace(tzinfo=UTC)
