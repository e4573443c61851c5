"""Ask a provider whether it accepts a key, and remember what it said about a stored one."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from apikeys import keys, renewal, resolution, unreadable
from apikeys.models import Credential
from apikeys.vault import CredentialUnreadable
from digitalme.accounts.models import User
from providers import registry, validation
from providers.registry import Provider
from providers.secrets import Secret
from providers.validation import Category, Outcome

# Only what the provider says about the key itself changes its standing: an outage, a rate limit or an
# empty account is no fault of the key.
_STATUS = {
    Category.VALID: Credential.Status.VALID,
    Category.LIMITED: Credential.Status.LIMITED,
    Category.INVALID: Credential.Status.INVALID,
    Category.EXPIRED: Credential.Status.EXPIRED,
}
_DETAIL_LENGTH = 200


@sensitive_variables("fields")
def test_credential(
    credential: Credential,
    *,
    actor: User | None = None,  # noqa: PT028
    now: datetime | None = None,  # noqa: PT028 (no test)
) -> Outcome:
    """Test a stored key with its provider and store what came of it, unless it was replaced meanwhile.

    Without `actor` it is whoever is signed in, or a job. Raises CredentialUnreadable if the key does not
    open, and AuditUnavailable, having stored nothing, if the outcome cannot be written down.
    """
    key = resolution.resolved(credential)
    try:
        fields = resolution.unseal(key)
    except CredentialUnreadable:
        unreadable.report(key)
        raise
    if not _signs(credential, fields):
        fields = dict(renewal.usable(renewal.fresh(key, fields)))
    outcome = validation.check(registry.get(credential.provider), fields)
    _remember(credential, outcome, actor, now or timezone.now())
    return outcome


def _signs(credential: Credential, fields: Mapping[str, Secret]) -> bool:
    """Whether the key signs for its tokens: then to get one is the test itself."""
    signer = registry.get(credential.provider).manifest.signer
    return signer is not None and signer.name in fields


@transaction.atomic
def _remember(credential: Credential, outcome: Outcome, actor: User | None, now: datetime) -> None:
    if status := _STATUS.get(outcome.category):
        facts: dict[str, Any] = {"status": status, "status_detail": outcome.message[:_DETAIL_LENGTH]}
        facts["last_validated_at"] = now
        if (end := _end(outcome.detail.get("expires"))) is not None:
            facts["expires_at"] = end
        if Credential.objects.filter(id=credential.id, version=credential.version).update(**facts):
            credential.refresh_from_db(fields=list(facts))
    keys.record("tested", credential, actor, category=outcome.category)


def _end(told: object) -> datetime | None:
    """Return when a provider says that the key expires, if it does and it can be read."""
    try:
        end = datetime.fromisoformat(str(told).replace(" UTC", "+00:00"))
    except ValueError:
        return None
    return end if end.tzinfo else end.replace(tzinfo=UTC)


@sensitive_variables("fields")
def test_fields(provider: Provider, fields: Mapping[str, str]) -> Outcome:
    """Test what somebody typed, before anything is stored. Raises InvalidKeyFormat as keys.set_key does."""
    return validation.check(provider, keys.checked(provider, fields))
