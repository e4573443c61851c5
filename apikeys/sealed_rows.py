"""A row that holds sealed fields, whichever table it is of: opened as it was sealed."""

import base64
import binascii
from typing import Any
from uuid import UUID

from apikeys import vault
from apikeys.models import Credential, KeptKey, WebhookSecret
from apikeys.vault import Context, CredentialUnreadable
from providers.secrets import Secret

Row = Credential | KeptKey | WebhookSecret


def opened(row: Row) -> dict[str, Secret]:
    """Return all fields; the row comes with its salt. Raises CredentialUnreadable."""
    return {name: vault.open(_blob(row, text), context(row, name), bytes(row.salt.salt)) for name, text in _texts(row)}


def _texts(row: Row) -> list[tuple[str, Any]]:
    if not isinstance(row.sealed, dict) or not row.sealed or not isinstance(row.destination, list):
        raise CredentialUnreadable(_bound_id(row))
    return list(row.sealed.items())


def _blob(row: Row, text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise CredentialUnreadable(_bound_id(row)) from None


def context(row: Row, name: str) -> Context:
    """Return what a field of the row is bound to."""
    destination = tuple(str(one) for one in row.destination)
    return Context(row.salt_id, row.provider, name, _bound_id(row), row.version, destination)


def _bound_id(row: Row) -> UUID:
    return row.credential_id if isinstance(row, KeptKey) else row.id


def key_ids(sealed: Any) -> set[str]:
    """Return the masters that the ciphertexts of a row themselves name."""
    found = set()
    for text in sealed.values() if isinstance(sealed, dict) else ():
        try:
            found.add(vault.key_id_of(base64.b64decode(text, validate=True)))
        except (binascii.Error, ValueError, TypeError):
            continue
    return found
