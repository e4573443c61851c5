"""Find keys that somebody put back: whoever can write to the database could restore an old row whole, which opens
as it once did. The audit trail knows better."""

from uuid import UUID

from apikeys.models import Credential
from digitalme.audit.actions import Action
from digitalme.audit.models import AuditEvent

_SET = {Action.CREDENTIAL_SET.value, Action.SYSTEM_KEY_SET.value}
_REMOVED = {Action.CREDENTIAL_REMOVED.value, Action.SYSTEM_KEY_REMOVED.value}


def put_back() -> list[str]:
    """Return a sentence for each stored key that is older than the trail's last word on it, or was removed.

    What happened before the oldest event that is kept is not known. Only as good as the trail, which is
    to be verified first.
    """
    last = _last_words()
    found = []
    for credential_id, version in Credential.objects.order_by("pk").values_list("pk", "version"):
        known = last.get(credential_id)
        if known is None:
            continue
        if known == 0:
            found.append(f"Key {credential_id} was removed and is there again.")
        elif version < known:
            found.append(f"Key {credential_id} is at version {version}, but version {known} was set.")
    return found


def _last_words() -> dict[UUID, int]:
    """Return the last version that was set of each key; 0 for one that was removed."""
    told = AuditEvent.objects.filter(action__in=_SET | _REMOVED).order_by("sequence")
    words = told.values_list("action", "target", "facts__version")
    return {
        UUID(target.removeprefix("credential:")): 0 if action in _REMOVED else int(version)
        for action, target, version in words
    }
