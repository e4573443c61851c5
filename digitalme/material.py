"""What the keys of the house are made of: how they are read, what makes one unusable, what is derived from one."""

import base64
import binascii
import hashlib
import itertools
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

KEY_BYTES = 32
# 32 random bytes have about 30 different values; fewer than 12 do not happen by chance.
MIN_DISTINCT_BYTES = 12
# Digests of keys that stand in examples; whoever copies one has no secret.
_SAMPLES = frozenset(
    hashlib.sha256(sample).hexdigest()
    for sample in (
        bytes(KEY_BYTES),
        b"0123456789abcdef0123456789abcdef",
        b"change-me-change-me-change-me-32",
        bytes(range(32)),
    )
)


class UnusableKey(Exception):
    """A key of the house is missing, weak or another one than it was. The message names the key, never its value."""


def decoded(name: str, encoded: str) -> bytes:
    """Return a key from its base64.

    Raises UnusableKey, with `name` and never the value, for one that is missing, too short, repeated,
    a sequence or known from an example.
    """
    try:
        key = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise UnusableKey(f"{name} is not valid base64.") from None
    if not key:
        raise UnusableKey(f"{name} is not set. Make one with: python manage.py generate_master_key --bare")
    return strong(name, key)


def strong(name: str, key: bytes) -> bytes:
    """Return the key. Raises UnusableKey, with `name`, for one that is too short, repeated, a sequence or a sample."""
    if len(key) < KEY_BYTES:
        raise UnusableKey(f"{name} is too short: it needs at least {KEY_BYTES} random bytes.")
    if _is_repeated(key) or hashlib.sha256(key[:KEY_BYTES]).hexdigest() in _SAMPLES:
        raise UnusableKey(f"{name} is a sample, a repetition or a sequence. Make a random one.")
    return key


def _is_repeated(key: bytes) -> bool:
    """Tell whether the bytes are few, repeat a short pattern, or count up or down."""
    if len(set(key)) < MIN_DISTINCT_BYTES:
        return True
    steps = {(following - byte) % 256 for byte, following in itertools.pairwise(key)}
    return len(steps) == 1 or any(key == (key[:length] * len(key))[: len(key)] for length in range(1, 17))


def expand(master: bytes, purpose: bytes) -> bytes:
    """Derive 32 bytes for one purpose. HKDF-Expand alone (RFC 5869): the master is random already, so
    nothing needs extracting."""
    derivation: Any = HKDFExpand(algorithm=hashes.SHA256(), length=KEY_BYTES, info=purpose)
    derived: bytes = derivation.derive(master)
    return derived
