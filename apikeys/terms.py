"""What goes with a key besides its secret: label and name, when it expires, when it is to be replaced."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.conf import settings

from digitalme.errors import InvalidRequest
from providers.registry import Provider

MAX_NAME_LENGTH = 100
_LONGEST = 64
_LABEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
# What follows the label's place in addresses of pages and API.
_RESERVED = frozenset({"test", "key", "remove", "details", "connect", "connected", "connection"})


@dataclass(frozen=True, slots=True)
class Terms:
    """A key's terms. Without `rotate_by` the house's rule decides, if it has one."""

    display_name: str = ""
    expires_at: datetime | None = None
    rotate_by: date | None = None


def check_label(provider: Provider, label: str) -> None:
    """Raise InvalidRequest unless a key of this provider may have the label; the empty one always may.

    The label follows the provider in the gateway's path, so it must not be a word with which one of the
    provider's own paths begins: without a label such a path must stay what it is.
    """
    if not label:
        return
    if not provider.manifest.several:
        raise InvalidRequest(f"{provider.name} takes one key per owner, without a label.")
    if not _LABEL.fullmatch(label):
        raise InvalidRequest("A label has up to 63 small letters, digits, - and _, and begins with a letter or digit.")
    if label in _RESERVED or label in first_words(provider):
        raise InvalidRequest("This word stands in addresses already. Choose another label.")


def first_words(provider: Provider) -> set[str]:
    """Return the words with which the provider's own paths begin."""
    return {operation.path.strip("/").partition("/")[0] for operation in provider.manifest.operations}


def label_in(provider: Provider, path: str) -> tuple[str, str]:
    """Split what follows /gateway/<provider> into label and path.

    Only where an owner may keep several keys, and only a first word with which none of the provider's own
    paths begins: a path without a label means the key without one, as it does everywhere else.
    """
    if not provider.manifest.several:
        return "", path
    word, _, rest = path[1:].partition("/")
    if not word or word in first_words(provider):
        return "", path
    return word[:_LONGEST], f"/{rest}"


def check(terms: Terms, *, now: datetime) -> None:
    """Raise InvalidRequest for a name that is too long or an end that is over."""
    if len(terms.display_name) > MAX_NAME_LENGTH:
        raise InvalidRequest(f"The name of a key has up to {MAX_NAME_LENGTH} characters.", field="display_name")
    if terms.expires_at is not None and terms.expires_at <= now:
        raise InvalidRequest("The expiry is over already. Choose a day to come, or none.", field="expires_at")
    if terms.rotate_by is not None and terms.rotate_by < now.astimezone(UTC).date():
        raise InvalidRequest("The day to replace the key by is over already.", field="rotate_by")


def rotation_day(today: date) -> date | None:
    """Return when a key that is set today is to be replaced by the house's rule, or None if there is none."""
    days: int = settings.ROTATE_KEYS_AFTER_DAYS
    return today + timedelta(days=days) if days else None
