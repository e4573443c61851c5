"""The keys of the house: masters that seal, the fingerprint key, the audit key. They come from the
environment or from files, never from the database, and never leave the process."""

import hmac
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.conf import settings

from digitalme import material
from digitalme.material import UnusableKey as UnusableKey  # whoever asks for the ring catches it

FINGERPRINT_KEY_ID = "fp1"
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")
_NOT_SET = "DIGITALME_MASTER_KEYS is not set. Make one with: python manage.py generate_master_key"


@dataclass(frozen=True)
class KeyRing:
    """All masters by id; `sealing_id` is the one that new secrets are sealed with."""

    sealing_id: str
    _masters: Mapping[str, bytes]
    _roots: Mapping[str, bytes]
    fingerprint_id: str
    _fingerprint_key: bytes

    def __repr__(self) -> str:
        return f"<KeyRing {', '.join(self._masters)}>"

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._masters

    @property
    def ids(self) -> tuple[str, ...]:
        """The masters' ids, the sealing one first."""
        return tuple(self._masters)

    def root(self, key_id: str) -> bytes:
        """Return the root from which owners' keys of this master are derived. Raises KeyError for an unknown id."""
        return self._roots[key_id]

    def check_value(self, key_id: str) -> str:
        """Return a value that tells whether two processes hold the same master, and nothing about it."""
        return material.expand(self._masters[key_id], b"digitalme/v1/kcv")[:8].hex()

    def fingerprint(self, message: bytes) -> bytes:
        """Return the keyed digest of a message, 32 bytes."""
        return hmac.digest(self._fingerprint_key, message, "sha256")


def ring() -> KeyRing:
    """Return the process's key ring; other settings make another one.

    Raises UnusableKey with a sentence an operator can act on.
    """
    return load(settings)


def load(source: Any) -> KeyRing:
    """Return the key ring of these settings. Raises UnusableKey."""
    return _load(source.DIGITALME_MASTER_KEYS, source.DIGITALME_FINGERPRINT_KEY, source.DIGITALME_AUDIT_KEY)


@lru_cache(maxsize=4)
def _load(masters: str, fingerprint: str, audit: str) -> KeyRing:
    by_id = _masters(masters)
    fingerprint_key = material.decoded("DIGITALME_FINGERPRINT_KEY", fingerprint)
    everything = {f"the master key '{key_id}'": key for key_id, key in by_id.items()}
    everything["DIGITALME_FINGERPRINT_KEY"] = fingerprint_key
    everything["DIGITALME_AUDIT_KEY"] = material.decoded("DIGITALME_AUDIT_KEY", audit)
    for (one, key), (other, twin) in itertools.combinations(everything.items(), 2):
        if key == twin:
            raise UnusableKey(f"The same key stands twice, as {one} and as {other}. Make one of them anew.")
    roots = {key_id: material.expand(master, b"digitalme/v1/enc-root") for key_id, master in by_id.items()}
    return KeyRing(next(iter(by_id)), by_id, roots, FINGERPRINT_KEY_ID, fingerprint_key)


def is_key_id(text: str) -> bool:
    """Tell whether a master may be called that."""
    return _KEY_ID.fullmatch(text) is not None


def _masters(text: str) -> dict[str, bytes]:
    masters: dict[str, bytes] = {}
    for entry in filter(str.strip, text.replace("\n", ",").split(",")):
        key_id, colon, encoded = entry.strip().partition(":")
        if not colon or not is_key_id(key_id):
            raise UnusableKey("DIGITALME_MASTER_KEYS must read id:base64,id:base64; one entry has no usable id.")
        if key_id in masters:
            raise UnusableKey(f"DIGITALME_MASTER_KEYS names the id '{key_id}' twice.")
        masters[key_id] = material.decoded(f"The master key '{key_id}'", encoded)
    if not masters:
        raise UnusableKey(_NOT_SET)
    return masters
