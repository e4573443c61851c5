"""What can happen, and which facts may be kept about it. Nothing that somebody typed is one of them."""

import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any


class Action(StrEnum):
    """Everything that the trail knows: what it happened to, and what happened."""

    CREDENTIAL_SET = "credential.set"
    CREDENTIAL_CHANGED = "credential.changed"
    CREDENTIAL_REMOVED = "credential.removed"
    CREDENTIAL_DISABLED = "credential.disabled"
    CREDENTIAL_ENABLED = "credential.enabled"
    CREDENTIAL_TESTED = "credential.tested"
    CREDENTIAL_REJECTED = "credential.rejected"
    CREDENTIAL_UNREADABLE = "credential.unreadable"
    CREDENTIAL_GRANT_ENDED = "credential.grant_ended"
    SYSTEM_KEY_SET = "system_key.set"
    SYSTEM_KEY_CHANGED = "system_key.changed"
    SYSTEM_KEY_REMOVED = "system_key.removed"
    SYSTEM_KEY_DISABLED = "system_key.disabled"
    SYSTEM_KEY_ENABLED = "system_key.enabled"
    SYSTEM_KEY_TESTED = "system_key.tested"
    SYSTEM_KEY_REJECTED = "system_key.rejected"
    SYSTEM_KEY_GRANT_ENDED = "system_key.grant_ended"

    TOKEN_ISSUED = "token.issued"  # noqa: S105 (what happened to one)
    TOKEN_REVOKED = "token.revoked"  # noqa: S105

    WEBHOOK_ADDED = "webhook.added"
    WEBHOOK_SECRET_CHANGED = "webhook.secret_changed"  # noqa: S105
    WEBHOOK_ENABLED = "webhook.enabled"
    WEBHOOK_DISABLED = "webhook.disabled"
    WEBHOOK_REMOVED = "webhook.removed"

    USER_CREATED = "user.created"
    USER_CHANGED = "user.changed"
    USER_DISABLED = "user.disabled"
    USER_ENABLED = "user.enabled"
    USER_DELETED = "user.deleted"
    USER_ROLE_CHANGED = "user.role_changed"
    USER_FALLBACK_CHANGED = "user.fallback_changed"
    USER_TIER_CHANGED = "user.tier_changed"
    TEAM_CREATED = "team.created"
    TEAM_CHANGED = "team.changed"
    TEAM_DELETED = "team.deleted"
    TEAM_INVITED = "team.invited"
    TEAM_INVITATION_WITHDRAWN = "team.invitation_withdrawn"
    TEAM_INVITATION_DECLINED = "team.invitation_declined"
    TEAM_JOINED = "team.joined"
    TEAM_LEFT = "team.left"
    TEAM_MEMBER_REMOVED = "team.member_removed"
    TEAM_ROLE_CHANGED = "team.role_changed"
    TEAM_HANDED_OVER = "team.handed_over"

    ALLOCATION_SET = "allocation.set"
    LIMIT_SET = "limit.set"
    LIMIT_REMOVED = "limit.removed"
    RAISE_ASKED = "raise.asked"
    RAISE_GRANTED = "raise.granted"
    RAISE_REFUSED = "raise.refused"
    RAISE_ENDED = "raise.ended"
    GIFT_GIVEN = "gift.given"
    EMERGENCY_USED = "emergency.used"
    LIMITS_ADJUSTED = "limits.adjusted"
    TIER_SET = "tier.set"
    TIER_REMOVED = "tier.removed"

    PROVIDER_INSTALLED = "provider.installed"
    PROVIDER_CHANGED = "provider.changed"
    PROVIDER_REMOVED = "provider.removed"
    PROVIDER_ENABLED = "provider.enabled"
    PROVIDER_DISABLED = "provider.disabled"
    PRICE_SET = "price.set"
    PRICE_REMOVED = "price.removed"
    USAGE_REPRICED = "usage.repriced"
    USAGE_PURGED = "usage.purged"

    MASTER_KEY_PROMOTED = "master_key.promoted"
    MASTER_KEY_RETIRED = "master_key.retired"
    MASTER_KEY_REINSTATED = "master_key.reinstated"
    ROTATION_STARTED = "rotation.started"
    ROTATION_FINISHED = "rotation.finished"
    IMPORT_APPLIED = "import.applied"
    IMPORT_REVERTED = "import.reverted"
    BACKUP_MADE = "backup.made"
    BACKUP_RESTORED = "backup.restored"
    AUDIT_PURGED = "audit.purged"

    LOGIN = "login"
    LOGIN_FAILED = "login.failed"
    LOGIN_CONFIRMED = "login.confirmed"
    LOGOUT = "logout"
    PASSWORD_CHANGED = "password.changed"  # noqa: S105
    PASSWORD_RESET = "password.reset"  # noqa: S105
    EMAIL_CONFIRMED = "email.confirmed"
    EMAIL_CHANGED = "email.changed"
    SECOND_FACTOR_ADDED = "second_factor.added"
    SECOND_FACTOR_REMOVED = "second_factor.removed"


class ActorKind(StrEnum):
    """Who may have done it: a signed-in person, an operator at the command line, a job, the gateway on
    behalf of a call, or somebody whom we do not know (yet)."""

    USER = "user"
    COMMAND = "command"
    TASK = "task"
    GATEWAY = "gateway"
    VISITOR = "visitor"


_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_SCOPE = re.compile(r"[a-z][a-z0-9_]{0,15}(:[a-z]{1,8})?")
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")
_PLACE = re.compile(
    r"(credential|token|webhook|user|team|tier|limit|allocation|raise|gift|price|second_factor|session)"
    r":([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{1,19})"
    r"|provider:[a-z][a-z0-9]{1,31}"
    r"|master_key:[A-Za-z0-9._-]{1,32}|system|audit|backup|import|rotation|usage"
)
_LARGEST = 10**18


def is_place(text: str) -> bool:
    """Tell whether this names a thing as the trail does: its kind and an id of ours, never a name."""
    return _PLACE.fullmatch(text) is not None


def facts_of(given: dict[str, Any]) -> dict[str, Any]:
    """Return the facts as they are kept. Raises ValueError for one that may not be, without its value."""
    return {name: _fact(name, value) for name, value in sorted(given.items()) if value is not None}


def _fact(name: str, value: Any) -> Any:
    if name not in ALLOWED:
        raise ValueError(f"The audit trail keeps no fact called {name!r}.")
    try:
        return ALLOWED[name](value)
    except (TypeError, ValueError):
        raise ValueError(f"The audit trail keeps no such value as the fact {name!r}.") from None


def _choice(value: Any) -> str:
    """A member of an enumeration: it comes from the code, so nobody typed it."""
    if not isinstance(value, Enum) or not isinstance(value, str):
        raise TypeError
    return _matching(_NAME, str(value.value))


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _LARGEST:
        raise TypeError
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _money(value: Any) -> str:
    if not isinstance(value, Decimal) or not value.is_finite() or abs(value) > _LARGEST:
        raise TypeError
    return format(value.normalize(), "f")


def _matching(form: re.Pattern[str], value: Any) -> str:
    if not isinstance(value, str) or not form.fullmatch(value):
        raise TypeError
    return value


def _name(value: Any) -> str:
    return _matching(_NAME, value)


def _key_id(value: Any) -> str:
    return _matching(_KEY_ID, value)


def _all(form: re.Pattern[str]) -> Callable[[Any], list[str]]:
    def check(value: Any) -> list[str]:
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise TypeError
        return [_matching(form, one) for one in list(value)[:32]]

    return check


# Providers' slugs and the names of columns are checked for their form here, and come from a list of
# known ones there; everything else is a number, a yes or no, or a word of the code's own.
ALLOWED: dict[str, Callable[[Any], Any]] = {
    "provider": lambda value: _name(value) if value not in ("", "*") else value,
    "version": _whole,
    "category": _choice,
    "role": _choice,
    "was": _choice,
    "method": _choice,
    "type": _choice,
    "binds": _choice,
    "scopes": _all(_SCOPE),
    "lifetime_days": _whole,
    "fields": _all(_NAME),
    "requests": _whole,
    "tokens": _whole,
    "cost": _money,
    "count": _whole,
    "percent": _whole,
    "through": _whole,
    "members": _whole,
    "key_id": _key_id,
    "was_key_id": _key_id,
    "dry_run": _flag,
    "upstream": _flag,
}
