"""The one file that a backup is: a tar with manifest.json and the database's dump, encrypted if asked.

A plain one can be looked into with tar alone. It carries checksums, which find damage; against somebody who changes it
on purpose only the encrypted form stands.
"""

import contextlib
import hashlib
import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from digitalme.errors import InvalidRequest
from digitalme.transfer import backup_manifest, sealed_stream
from digitalme.transfer.backup_manifest import BadBackup, Manifest, Part
from digitalme.transfer.sealed_stream import Opener, Sealer, Unreadable

MANIFEST = "manifest.json"
MAX_MANIFEST = 10_000_000
_COPY_BYTES = 1 << 20
_DAMAGED = "The backup is damaged: it ends too early or was altered. Take another one."


def fact_of(path: Path) -> Part:
    """Return size and checksum of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_COPY_BYTES):
            digest.update(piece)
    return Part(path.stat().st_size, digest.hexdigest())


def write(path: Path, manifest: Manifest, parts: Mapping[str, Path], passphrase: bytes | None) -> None:
    """Write a new container that only its owner may read, and wait until it is on the disk.

    Raises FileExistsError if there is something already.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        if passphrase is None:
            _tar(file, manifest, parts)
        else:
            sealer = Sealer(file, passphrase)
            _tar(cast(BinaryIO, sealer), manifest, parts)
            sealer.finish()
        file.flush()
        os.fsync(file.fileno())


def _tar(to: BinaryIO, manifest: Manifest, parts: Mapping[str, Path]) -> None:
    with tarfile.open(fileobj=to, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        said = manifest.as_json()
        tar.addfile(_member(MANIFEST, len(said)), io.BytesIO(said))
        for name, path in parts.items():
            with path.open("rb") as file:
                tar.addfile(_member(name, path.stat().st_size), file)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member


class Container:
    """A backup that is being read, from its beginning to its end."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        file = self._next(MANIFEST)
        said = file.read(MAX_MANIFEST + 1)
        if len(said) > MAX_MANIFEST:
            raise BadBackup(_DAMAGED)
        self.manifest = backup_manifest.from_json(said)

    def extract(self, name: str, to: Path) -> None:
        """Write the next part, which must have this name, to a new file. Raises BadBackup unless it is exactly
        what was backed up."""
        wanted, digest, size = self.manifest.parts.get(name), hashlib.sha256(), 0
        if wanted is None:
            raise BadBackup(f"The backup has no {name}; the file is damaged.")
        source = self._next(name)
        with to.open("xb") as file:
            while piece := source.read(_COPY_BYTES):
                digest.update(piece)
                size += len(piece)
                file.write(piece)
        if (size, digest.hexdigest()) != (wanted.bytes, wanted.sha256):
            raise BadBackup(f"The checksum of {name} is not the one it was backed up with. Take another backup.")

    def _next(self, name: str) -> IO[bytes]:
        member = self._tar.next()
        file = self._tar.extractfile(member) if member and member.isreg() and member.name == name else None
        if file is None:
            raise BadBackup("This is no backup of DigitalMe, or a damaged one.")
        return file


@contextlib.contextmanager
def reading(path: Path, passphrase: bytes | None) -> Iterator[Container]:
    """Open a backup. Raises BadBackup for whatever is wrong with it, also while it is read within the block, and
    InvalidRequest for a passphrase that is missing or not needed."""
    with contextlib.ExitStack() as stack:
        try:
            source: Any = stack.enter_context(path.open("rb"))
        except OSError as problem:
            raise InvalidRequest(f"{path} cannot be read: {problem.strerror}.") from None
        is_sealed = sealed_stream.is_sealed(source.peek(len(sealed_stream.MAGIC)))
        if is_sealed != (passphrase is not None):
            raise InvalidRequest(
                "This backup is encrypted: name the file of its passphrase with --passphrase-file."
                if is_sealed
                else "This backup is not encrypted: leave --passphrase-file out."
            )
        try:
            if passphrase is not None:
                source = io.BufferedReader(Opener(source, passphrase), _COPY_BYTES)
            tar = stack.enter_context(tarfile.open(fileobj=source, mode="r|"))
            yield Container(tar)
        except Unreadable:
            raise BadBackup(
                "The backup cannot be opened: the passphrase is another one, or the file was altered or cut off."
            ) from None
        except (tarfile.TarError, EOFError):
            raise BadBackup(_DAMAGED) from None
