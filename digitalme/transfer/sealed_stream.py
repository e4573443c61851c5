"""Encrypt a stream with a passphrase, piece by piece, so that its size does not matter.

Format: "DMBACKUP" | 0x01 | salt (16) | nonce prefix (7) | pieces. Each piece is AES-256-GCM over up to 1 MiB with the
header as associated data; its nonce is the prefix, the piece's number and whether it is the last one
(the STREAM construction: Hoang, Reyhanitabar, Rogaway, Vizár, 2015). So no piece can be left out, moved,
repeated, or cut off at the end without being noticed. The key is scrypt over the passphrase; its cost is fixed by the
format's number and never read from the file.
"""

import io
import os
import struct
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

MAGIC = b"DMBACKUP\x01"
SALT_BYTES, PREFIX_BYTES, TAG_BYTES, PIECE_BYTES = 16, 7, 16, 1 << 20
HEADER_BYTES = len(MAGIC) + SALT_BYTES + PREFIX_BYTES
# 128 MiB and some 0.3 s for each guess (RFC 7914, section 2).
COST, BLOCK, PARALLEL = 1 << 17, 8, 1
MIN_PASSPHRASE = 12
MOST_PIECES = 1 << 32


class Unreadable(Exception):
    """The passphrase is another one, or the stream was altered or cut off."""


def is_sealed(beginning: bytes) -> bool:
    """Tell whether a stream that begins so is encrypted by this module."""
    return beginning.startswith(MAGIC)


def _cipher(passphrase: bytes, salt: bytes) -> AESGCM:
    return AESGCM(Scrypt(salt=salt, length=32, n=COST, r=BLOCK, p=PARALLEL).derive(passphrase))


def _nonce(prefix: bytes, number: int, last: bool) -> bytes:
    if number >= MOST_PIECES:
        raise OverflowError("The stream is longer than four pebibytes.")
    return prefix + struct.pack(">IB", number, last)


class Sealer(io.RawIOBase):
    """A file to write to. `finish` must be called at the end; without it nobody can read the stream."""

    def __init__(self, to: BinaryIO, passphrase: bytes) -> None:
        super().__init__()
        salt, self._prefix = os.urandom(SALT_BYTES), os.urandom(PREFIX_BYTES)
        self._to, self._header = to, MAGIC + salt + self._prefix
        self._cipher, self._number, self._held = _cipher(passphrase, salt), 0, bytearray()
        to.write(self._header)

    def writable(self) -> bool:
        return True

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        self._held += data
        # One piece always stays behind, as the last one is marked.
        while len(self._held) > PIECE_BYTES:
            self._seal(bytes(self._held[:PIECE_BYTES]), last=False)
            del self._held[:PIECE_BYTES]
        return len(data)

    def finish(self) -> None:
        """Write the last piece."""
        self._seal(bytes(self._held), last=True)
        self._held.clear()

    def _seal(self, piece: bytes, *, last: bool) -> None:
        self._to.write(self._cipher.encrypt(_nonce(self._prefix, self._number, last), piece, self._header))
        self._number += 1


class Opener(io.RawIOBase):
    """A file to read from. Raises Unreadable as soon as a piece is not what was sealed; nothing of such a piece is
    handed out."""

    def __init__(self, source: BinaryIO, passphrase: bytes) -> None:
        super().__init__()
        self._source = source
        self._header = source.read(HEADER_BYTES)
        if len(self._header) < HEADER_BYTES or not is_sealed(self._header):
            raise Unreadable
        self._prefix = self._header[-PREFIX_BYTES:]
        self._cipher = _cipher(passphrase, self._header[len(MAGIC) : -PREFIX_BYTES])
        self._number, self._plain, self._at = 0, b"", 0
        self._ahead = source.read(PIECE_BYTES + TAG_BYTES)
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        while self._at >= len(self._plain):
            if self._ended:
                return 0
            self._open()
        count = min(len(buffer), len(self._plain) - self._at)
        buffer[:count] = self._plain[self._at : self._at + count]
        self._at += count
        return count

    def _open(self) -> None:
        piece, self._ahead = self._ahead, self._source.read(PIECE_BYTES + TAG_BYTES)
        last = not self._ahead
        try:
            self._plain = self._cipher.decrypt(_nonce(self._prefix, self._number, last), piece, self._header)
        except InvalidTag:
            raise Unreadable from None
        self._number, self._at, self._ended = self._number + 1, 0, last
