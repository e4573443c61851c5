"""Seal and open secrets. Pure: it knows bytes, keys and contexts, but no tables.

Format: 0x01 | 0x01 (AES-256-GCM) | derivation profile | length of key id | key id | iv (12) | ciphertext | tag (16).
The whole header and the context are authenticated, so a sealed secret opens for the owner, provider,
field, row, version and destinations that it was sealed for, and for nothing else.
"""

import base64
import hashlib
import logging
import os
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from apikeys import keyring
from apikeys.keyring import KeyRing, UnusableKey
from digitalme.errors import DecryptionFailed
from providers.secrets import Secret

FORMAT, ALGORITHM, PROFILE = 1, 1, 1
SALT_BYTES, IV_BYTES, TAG_BYTES, KEY_BYTES = 32, 12, 16, 32
# Never read from the stored header: whoever can write the table must not choose the work.
ROUNDS = {PROFILE: 100_000}
_BEGINNINGS = {bytes((FORMAT, ALGORITHM, profile)) for profile in ROUNDS}
CACHED_OWNERS = 1_000
IDLE_SECONDS, HARD_SECONDS = 300.0, 900.0
MAX_DERIVATIONS = 2 * (os.cpu_count() or 1)

log = logging.getLogger(__name__)


class RandomnessBroken(Exception):
    """The system's source of random bytes repeats itself. Nothing may be sealed: an iv that is used twice
    under one key gives both secrets away."""


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
    return _random(SALT_BYTES)


def seal(secret: Secret, context: Context, salt: bytes, key_id: str | None = None) -> bytes:
    """Encrypt with a fresh iv, by the sealing master unless another one's id is given.

    Raises UnusableKey if that master is not here, RandomnessBroken if there is no fresh iv to be had.
    """
    ring = keyring.ring()
    key_id = ring.sealing_id if key_id is None else key_id
    if key_id not in ring:
        raise UnusableKey(f"The master key '{key_id}' seals, but it is not here.")
    header = _header(key_id)
    cipher = derived_keys.cipher(ring, key_id, PROFILE, context.owner, salt)
    return header + _lock(cipher, _random(IV_BYTES), _encoded(secret), _associated(header, context))


def open(blob: bytes, context: Context, salt: bytes) -> Secret:
    """Decrypt. Raises CredentialUnreadable, and nothing else, whatever is wrong with blob or context."""
    ring = keyring.ring()
    header = _header_of(blob)
    key_id = key_id_of(blob)
    if key_id not in ring:
        log.warning("The credential %s needs the master key %.64r, which is not here.", context.credential_id, key_id)
        raise CredentialUnreadable(context.credential_id)
    cipher = derived_keys.cipher(ring, key_id, header[2], context.owner, salt)
    try:
        plaintext = _unlock(cipher, blob[len(header) :], _associated(header, context))
    except (InvalidTag, struct.error):
        raise CredentialUnreadable(context.credential_id) from None
    return Secret(plaintext.decode(errors="surrogatepass"))


def is_warm(owner: str, key_id: str, salt: bytes) -> bool:
    """Tell whether the owner's key of this master is at hand; to derive it takes some 15 ms of CPU."""
    ring = keyring.ring()
    return key_id not in ring or derived_keys.holds(ring, key_id, PROFILE, owner, salt)


def key_id_of(blob: bytes) -> str:
    """Return the id of the master that sealed it; empty if the format is unknown."""
    return _header_of(blob)[4:].decode("ascii", "replace")


def warm_up(owner: str, salt: bytes) -> None:
    """Derive the owner's sealing key now, so that it is not done later while a lock is held."""
    ring = keyring.ring()
    if ring.sealing_id in ring:
        derived_keys.cipher(ring, ring.sealing_id, PROFILE, owner, salt)


def fingerprint(scope: str, provider: str, secret: Secret) -> str:
    """Return a keyed digest by which the same secret is recognised within a scope, in base32.

    Keyed, since some secrets are human passwords, which a plain hash in a stolen table would give away.
    """
    message = _lp(scope.encode()) + _lp(provider.encode()) + _lp(_encoded(secret))
    return base64.b32encode(keyring.ring().fingerprint(message)).decode().rstrip("=")


def _encoded(secret: Secret) -> bytes:
    # Lone surrogates too: an encoding error would carry the whole secret.
    return secret.reveal().encode(errors="surrogatepass")


def _random(length: int) -> bytes:
    """Return fresh random bytes; every draw is a self-test, since two equal ones do not happen by chance."""
    drawn = os.urandom(length)
    if drawn == os.urandom(length):
        raise RandomnessBroken("The system's random bytes repeat themselves, so nothing can be sealed.")
    return drawn


def _new_cipher(key: bytes) -> AESGCM:
    """Return AES-256-GCM under a key. Raises ValueError for a key of another length."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"A key has {KEY_BYTES} bytes.")
    return AESGCM(key)


def _lock(cipher: AESGCM, iv: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """Return iv, ciphertext and tag."""
    return iv + cipher.encrypt(iv, plaintext, associated)


def _unlock(cipher: AESGCM, locked: bytes, associated: bytes) -> bytes:
    """Return the plaintext of what `_lock` returned. Raises InvalidTag."""
    return cipher.decrypt(locked[:IV_BYTES], locked[IV_BYTES:], associated)


def _header(key_id: str) -> bytes:
    encoded = key_id.encode()
    return bytes((FORMAT, ALGORITHM, PROFILE, len(encoded))) + encoded


def _header_of(blob: bytes) -> bytes:
    """Return the header; nothing if the whole is not of a form that `seal` makes."""
    end = 4 + int.from_bytes(blob[3:4])
    if blob[:3] not in _BEGINNINGS or len(blob) < end + IV_BYTES + TAG_BYTES:
        return b""
    return blob[:end]


def _lp(part: bytes) -> bytes:
    """Prefix with the length, so that 'ab','c' and 'a','bc' differ."""
    return struct.pack(">I", len(part)) + part


@lru_cache(maxsize=256)
def _digest(destination: tuple[str, ...]) -> bytes:
    return hashlib.sha256(b"".join(_lp(one.encode()) for one in sorted(destination))).digest()


def _associated(header: bytes, context: Context) -> bytes:
    parts = (
        b"digitalme.cred",
        header,
        context.owner.encode(),
        context.provider.encode(),
        context.field.encode(),
        context.credential_id.bytes,
    )
    return b"".join(map(_lp, parts)) + struct.pack(">Q", context.version) + _lp(_digest(context.destination))


@dataclass(slots=True)
class _Entry:
    """A derived key, or the lock under which the first one to need it derives it."""

    derived_at: float
    used_at: float
    cipher: AESGCM | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def usable(self, now: float) -> AESGCM | None:
        """Return the cipher unless it is missing, too old or too long unused."""
        fresh = now - self.derived_at < HARD_SECONDS and now - self.used_at < IDLE_SECONDS
        return self.cipher if fresh else None


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

    def __len__(self) -> int:
        return len(self._entries)

    def holds(self, ring: KeyRing, key_id: str, profile: int, owner: str, salt: bytes) -> bool:
        """Tell whether the derived key is at hand."""
        entry = self._entries.get(self._name(ring, key_id, profile, owner, salt))
        return entry is not None and entry.usable(self._clock()) is not None

    def cipher(self, ring: KeyRing, key_id: str, profile: int, owner: str, salt: bytes) -> AESGCM:
        """Return the owner's cipher, deriving its key if it is not at hand."""
        name = self._name(ring, key_id, profile, owner, salt)
        entry, now = self._entry(name), self._clock()
        cipher = entry.usable(now)
        if cipher is None:
            with entry.lock:
                cipher = entry.usable(self._clock())
                if cipher is None:
                    with self._slots:
                        cipher = _new_cipher(_derive(ring.root(key_id), salt, profile))
                    now = self._clock()
                    # In this order: whoever looks without the lock sees a whole entry or none.
                    entry.derived_at = entry.used_at = now
                    entry.cipher = cipher
        entry.used_at = now
        return cipher

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    def _name(self, ring: KeyRing, key_id: str, profile: int, owner: str, salt: bytes) -> tuple[bytes, int, str, bytes]:
        # The root and not its id: a ring with another key under the same id must not find this one's.
        return ring.root(key_id), profile, owner, salt

    def _entry(self, name: tuple[bytes, int, str, bytes]) -> _Entry:
        with self._lock:
            entry = self._entries.get(name)
            if entry is None:
                self._drop_old()
                now = self._clock()
                entry = self._entries[name] = _Entry(now, now)
            else:
                self._entries.move_to_end(name)
            return entry

    def _drop_old(self) -> None:
        """Make room for one more; the longest unused stand first."""
        now = self._clock()
        while self._entries:
            name, entry = next(iter(self._entries.items()))
            if len(self._entries) < self._size and now - entry.used_at < IDLE_SECONDS:
                break
            del self._entries[name]


def _derive(root: bytes, salt: bytes, profile: int) -> bytes:
    return _pbkdf2(root, b"digitalme/v1/user\x00" + salt, ROUNDS[profile])


def _pbkdf2(password: bytes, salt: bytes, rounds: int) -> bytes:
    """Return KEY_BYTES of PBKDF2 with HMAC-SHA256 (RFC 8018)."""
    return PBKDF2HMAC(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=salt, iterations=rounds).derive(password)


derived_keys = DerivedKeys()
