"""Seal and open secrets. Pure: it knows bytes, keys and contexts, but no tables.

Format: 0x01 | 0x01 (AES-256-GCM) | derivation profile | length of key id | key id | iv (12) | ciphertext | tag (16).
The whole header and the context are authenticated, so a sealed secret opens for the owner, provider,
field, row, version and destinations that it was sealed for, and for nothing else.
"""

import base64
import hashlib
import os
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from apikeys.keyring import KeyRing
from digitalme.errors import DecryptionFailed
from providers.secrets import Secret

FORMAT, ALGORITHM, PROFILE = 1, 1, 1
SALT_BYTES, IV_BYTES, TAG_BYTES, KEY_BYTES = 32, 12, 16, 32
# Never read from the stored header: whoever can write the table must not choose the work.
ROUNDS = {PROFILE: 100_000}
CACHED_OWNERS = 1_000
IDLE_SECONDS, HARD_SECONDS = 300.0, 900.0
MAX_DERIVATIONS = 2 * (os.cpu_count() or 1)


class CredentialUnreadable(DecryptionFailed):
    """A sealed secret does not open: it was altered, moved, or sealed by a key that is not here."""

    def __init__(self, credential_id: UUID) -> None:
        super().__init__(
            "This stored key cannot be read. Enter it again; if that does not help, tell the administrator.",
            credential_id=str(credential_id),
        )
        self.credential_id = credential_id

    def __reduce__(self) -> tuple[Any, ...]:
        return (CredentialUnreadable, (self.credential_id,))


@dataclass(frozen=True, slots=True)
class Context:
    """Where a secret belongs. Only ids that never change, never names or addresses."""

    owner: str
    provider: str
    field: str
    credential_id: UUID
    version: int
    destination: tuple[str, ...]


def new_salt() -> bytes:
    """Return the random bytes from which an owner's key is derived."""
    return os.urandom(SALT_BYTES)


def seal(ring: KeyRing, secret: Secret, context: Context, salt: bytes) -> bytes:
    """Encrypt with the ring's sealing master and a fresh iv."""
    header = _header(ring.sealing_id)
    cipher = _keys.cipher(ring, ring.sealing_id, PROFILE, context.owner, salt)
    iv = os.urandom(IV_BYTES)
    return header + iv + cipher.encrypt(iv, secret.reveal().encode(), _associated(header, context))


def open_sealed(ring: KeyRing, blob: bytes, context: Context, salt: bytes) -> Secret:
    """Decrypt. Raises CredentialUnreadable, and nothing else, whatever is wrong."""
    parsed = _parse(blob)
    if parsed is None or parsed.key_id not in ring:
        raise CredentialUnreadable(context.credential_id)
    cipher = _keys.cipher(ring, parsed.key_id, parsed.profile, context.owner, salt)
    try:
        plaintext = cipher.decrypt(parsed.iv, parsed.ciphertext, _associated(parsed.header, context))
    except InvalidTag:
        raise CredentialUnreadable(context.credential_id) from None
    return Secret(plaintext.decode())


def is_warm(ring: KeyRing, blob: bytes, owner: str, salt: bytes) -> bool:
    """Tell whether opening needs no derivation, which takes some 15 ms of CPU."""
    parsed = _parse(blob)
    return parsed is None or parsed.key_id not in ring or _keys.holds(ring, parsed.key_id, parsed.profile, owner, salt)


def key_id_of(blob: bytes) -> str:
    """Return the id of the master that sealed it; empty if the format is unknown."""
    parsed = _parse(blob)
    return parsed.key_id if parsed else ""


def fingerprint(ring: KeyRing, scope: str, provider: str, secret: Secret) -> str:
    """Return a keyed digest by which the same secret is recognised, in base32.

    Keyed, since some secrets are human passwords, which a plain hash in a stolen table would give away.
    """
    message = _lp(scope.encode()) + _lp(provider.encode()) + _lp(secret.reveal().encode())
    return base64.b32encode(ring.fingerprint(message)).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class _Parsed:
    header: bytes
    key_id: str
    profile: int
    iv: bytes
    ciphertext: bytes


def _header(key_id: str) -> bytes:
    encoded = key_id.encode()
    return bytes((FORMAT, ALGORITHM, PROFILE, len(encoded))) + encoded


def _parse(blob: bytes) -> _Parsed | None:
    """Take a blob apart; None if it is not of this format."""
    if len(blob) < 4 or blob[0] != FORMAT or blob[1] != ALGORITHM or blob[2] not in ROUNDS:
        return None
    end = 4 + blob[3]
    if len(blob) < end + IV_BYTES + TAG_BYTES:
        return None
    key_id = blob[4:end].decode("ascii", "replace")
    return _Parsed(blob[:end], key_id, blob[2], blob[end : end + IV_BYTES], blob[end + IV_BYTES :])


def _lp(part: bytes) -> bytes:
    """Prefix with the length, so that 'ab','c' and 'a','bc' differ."""
    return struct.pack(">I", len(part)) + part


def _associated(header: bytes, context: Context) -> bytes:
    destination = hashlib.sha256(b"".join(_lp(one.encode()) for one in sorted(context.destination))).digest()
    parts = (
        b"digitalme.cred",
        header,
        context.owner.encode(),
        context.provider.encode(),
        context.field.encode(),
        context.credential_id.bytes,
    )
    return b"".join(map(_lp, parts)) + struct.pack(">Q", context.version) + _lp(destination)


@dataclass(slots=True)
class _Entry:
    """A derived key, or the lock under which the first one to need it derives it."""

    derived_at: float = 0.0
    used_at: float = 0.0
    cipher: AESGCM | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class DerivedKeys:
    """Owners' derived keys, kept per process for a while. No plaintext is ever kept.

    One derivation per owner at a time, and few at once, so that a crowd of new owners cannot take
    the CPU from the calls that are warm.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, size: int = CACHED_OWNERS) -> None:
        self._clock, self._size = clock, size
        self._entries: OrderedDict[tuple[bytes, int, str, bytes], _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(MAX_DERIVATIONS)

    def holds(self, ring: KeyRing, key_id: str, profile: int, owner: str, salt: bytes) -> bool:
        """Tell whether the derived key is at hand."""
        entry = self._entries.get(self._name(ring, key_id, profile, owner, salt))
        return entry is not None and self._fresh(entry)

    def cipher(self, ring: KeyRing, key_id: str, profile: int, owner: str, salt: bytes) -> AESGCM:
        """Return the owner's cipher, deriving its key if it is not at hand."""
        name = self._name(ring, key_id, profile, owner, salt)
        entry = self._entries.get(name)
        if entry is None or not self._fresh(entry):
            entry = self._entry(name)
            with entry.lock:
                if not self._fresh(entry):
                    with self._slots:
                        entry.cipher = AESGCM(_derive(ring.root(key_id), salt, profile))
                    entry.derived_at = entry.used_at = self._clock()
        entry.used_at = self._clock()
        if entry.cipher is None:
            raise RuntimeError("A fresh entry has its cipher.")
        return entry.cipher

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    def _name(self, ring: KeyRing, key_id: str, profile: int, owner: str, salt: bytes) -> tuple[bytes, int, str, bytes]:
        # The root and not its id: a ring with another key under the same id must not find this one's.
        return ring.root(key_id), profile, owner, salt

    def _fresh(self, entry: _Entry) -> bool:
        now = self._clock()
        return entry.cipher is not None and now - entry.derived_at < HARD_SECONDS and now - entry.used_at < IDLE_SECONDS

    def _entry(self, name: tuple[bytes, int, str, bytes]) -> _Entry:
        with self._lock:
            entry = self._entries.setdefault(name, _Entry())
            self._entries.move_to_end(name)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)
            return entry


def _derive(root: bytes, salt: bytes, profile: int) -> bytes:
    derivation = PBKDF2HMAC(
        algorithm=hashes.SHA256(), length=KEY_BYTES, salt=b"digitalme/v1/user\x00" + salt, iterations=ROUNDS[profile]
    )
    return derivation.derive(root)


_keys = DerivedKeys()
