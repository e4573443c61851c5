"""What a backup says of itself: where it comes from, what is in it, and which keys it needs."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from digitalme.errors import InvalidRequest

FORMAT = 1


class BadBackup(InvalidRequest):
    """A file that is no backup, is damaged, or does not belong here. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Master:
    """A master key as a backup knows it: its check value (empty if unknown), how many rows it sealed, and whether it
    was promoted to seal."""

    check: str
    rows: int
    seals: bool


@dataclass(frozen=True, slots=True)
class Part:
    """A file in the container."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """`counts` is rows by table, `migrations` names by application; `fingerprints` (by id) and `audit_check` are the
    check values of those keys."""

    product: str
    made_at: str
    vendor: str
    migrations: Mapping[str, list[str]]
    counts: Mapping[str, int]
    masters: Mapping[str, Master]
    fingerprints: Mapping[str, str]
    audit_check: str
    parts: Mapping[str, Part]
    format: int = FORMAT

    def as_json(self) -> bytes:
        """Return what `from_json` reads."""
        return json.dumps(asdict(self), indent=2, sort_keys=True).encode()

    @property
    def sealed_rows(self) -> int:
        """How many rows hold ciphertext."""
        return sum(master.rows for master in self.masters.values())


def from_json(data: bytes) -> Manifest:
    """Return the manifest. Raises BadBackup for another format or a shape that it cannot have."""
    try:
        given = json.loads(data)
        if given["format"] != FORMAT:
            raise BadBackup(
                f"This backup has format {str(given['format'])[:8]}; this version reads {FORMAT}. Use a newer version."
            )
        return Manifest(
            product=_text(given["product"]),
            made_at=_text(given["made_at"]),
            vendor=_text(given["vendor"]),
            migrations={_text(app): [_text(one) for one in names] for app, names in given["migrations"].items()},
            counts={_text(table): _count(rows) for table, rows in given["counts"].items()},
            masters={
                _text(key_id): Master(_text(one["check"]), _count(one["rows"]), bool(one["seals"]))
                for key_id, one in given["masters"].items()
            },
            fingerprints={_text(key_id): _text(value) for key_id, value in given["fingerprints"].items()},
            audit_check=_text(given["audit_check"]),
            parts={
                _text(name): Part(_count(one["bytes"]), _text(one["sha256"])) for name, one in given["parts"].items()
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadBackup("The backup's manifest cannot be read; the file is damaged.") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError
    return value
