"""Ask a provider whether it accepts a key, and remember what it said about a stored one."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from apikeys import keys, resolution
from apikeys.models import Credential
from providers import registry, validation
from providers.registry import Provider
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
def test_credential(credential: Credential, *, now: datetime | None = None) -> Outcome:  # noqa: PT028 (no test)
    """Test a stored key with its provider and store what came of it, unless it was replaced meanwhile.

    Raises CredentialUnreadable if the key does not open.
    """
    fields = resolution.unseal(resolution.resolved(credential))
    outcome = validation.check(registry.get(credential.provider), fields)
    if status := _STATUS.get(outcome.category):
        facts: dict[str, Any] = {"status": status, "status_detail": outcome.message[:_DETAIL_LENGTH]}
        facts["last_validated_at"] = now or timezone.now()
        if Credential.objects.filter(id=credential.id, version=credential.version).update(**facts):
            credential.refresh_from_db(fields=list(facts))
    return outcome


@sensitive_variables("fields")
def test_fields(provider: Provider, fields: Mapping[str, str]) -> Outcome:
    """Test what somebody typed, before anything is stored. Raises InvalidKeyFormat as keys.set_key does."""
    return validation.check(provider, keys.checked(provider, fields))
