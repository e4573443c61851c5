"""Records as rows for other programs: CSV, one JSON array, or JSON Lines.

Rows are read page by page, each from where the one before it ended. So a file of any length takes the memory of one
page, and a reader who is slow holds nothing of the database.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple, Self
from uuid import UUID

from django.db.models import BigIntegerField, Q, QuerySet
from django.db.models.functions import Cast

from usage.models import UsageRecord

COLUMNS = (
    "request_id",
    "timestamp",
    "provider",
    "model",
    "key_source",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cost",
    "status",
    "error_type",
    "response_ms",
    "tag",
)
PAGE_ROWS = 5_000
# What is read of each record: costs as they are kept, in whole billionths of a dollar.
_READ = tuple(Cast(name, BigIntegerField()) if name == "cost" else name for name in COLUMNS)
_PER_DOLLAR = 1_000_000_000
Row = tuple[Any, ...]


class Format(StrEnum):
    """What a file of records can be."""

    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"

    @property
    def media_type(self) -> str:
        """What the file is sent as."""
        return {"csv": "text/csv; charset=utf-8", "json": "application/json", "jsonl": "application/jsonl"}[self.value]

    @property
    def label(self) -> str:
        """What pages call it."""
        return {"csv": "CSV, for spreadsheets", "json": "JSON, one array", "jsonl": "JSON Lines"}[self.value]

    @property
    def head(self) -> str:
        """What stands before the first row."""
        return {"csv": ",".join(COLUMNS) + "\r\n", "json": "[", "jsonl": ""}[self.value]

    @property
    def foot(self) -> str:
        """What stands behind the last row."""
        return "\n]\n" if self is Format.JSON else ""


class Place(NamedTuple):
    """Where a page ended: the next one begins behind it."""

    timestamp: datetime
    request_id: UUID


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records: those to which all that is given applies. They began in [start, end); `team_id` is whose key
    served them. An empty value leaves its column open."""

    user_id: UUID | None = None
    team_id: UUID | None = None
    token_id: UUID | None = None
    start: datetime | None = None
    end: datetime | None = None
    provider: str = ""
    model: str = ""
    key_source: str = ""
    status: str = ""
    tag: str = ""

    def records(self) -> QuerySet[UsageRecord]:
        """Return them, in no order."""
        columns = [field.name for field in fields(self) if field.name not in ("start", "end")]
        given = {name: getattr(self, name) for name in columns}
        given |= {"timestamp__gte": self.start, "timestamp__lt": self.end}
        chosen = {name: value for name, value in given.items() if value not in (None, "")}
        return UsageRecord.objects.filter(**chosen).order_by()

    def as_json(self) -> dict[str, str]:
        """Return what is given, as a JSON column keeps it."""
        given = {name: value for name, value in asdict(self).items() if value not in (None, "")}
        return {name: value.isoformat() if isinstance(value, datetime) else str(value) for name, value in given.items()}

    @classmethod
    def of_json(cls, kept: dict[str, str]) -> Self:
        """Return what `as_json` was made of."""
        facts: dict[str, Any] = dict(kept)
        facts |= {name: UUID(kept[name]) for name in ("user_id", "team_id", "token_id") if name in kept}
        facts |= {name: datetime.fromisoformat(kept[name]) for name in ("start", "end") if name in kept}
        return cls(**facts)


def stream(wanted: Selection, form: Format) -> Iterator[str]:
    """Yield a file of the records, the earliest first, in pieces of one page at most."""
    yield form.head
    first = True
    for rows in pages(wanted):
        yield body(form, rows, first=first)
        first = False
    yield form.foot


def pages(wanted: Selection, after: Place | None = None) -> Iterator[list[Row]]:
    """Yield the rows page by page in the order of time, those behind `after` if it is given.

    A page that is not full is the last one: calls that come in meanwhile are in it or are not.
    """
    records = wanted.records().order_by("timestamp", "request_id")
    while True:
        found = list((behind(records, after) if after else records).values_list(*_READ)[:PAGE_ROWS])
        if found:
            yield found
            after = place_of(found[-1])
        if len(found) < PAGE_ROWS:
            return


def place_of(row: Row) -> Place:
    """Return where a row stands."""
    return Place(row[1], row[0])


def behind(records: QuerySet[UsageRecord], place: Place) -> QuerySet[UsageRecord]:
    """Return those of the records that stand behind a place in the order of time."""
    # The first condition follows from the second; it is what an index can be searched by.
    later = Q(timestamp__gt=place.timestamp) | Q(request_id__gt=place.request_id)
    return records.filter(later, timestamp__gte=place.timestamp)


def body(form: Format, rows: Sequence[Row], *, first: bool) -> str:
    """Return the rows as a piece of the file; `first` if no row stands before them."""
    if form is Format.CSV:
        out = io.StringIO()
        csv.writer(out).writerows(map(_cells, rows))
        return out.getvalue()
    lines = [_encode(dict(zip(COLUMNS, _values(row), strict=True))) for row in rows]
    if form is Format.JSONL:
        return "\n".join(lines) + "\n"
    return ("\n" if first else ",\n") + ",\n".join(lines)


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _values(row: Row) -> list[Any]:
    """Return a row as the API tells it: times in UTC, costs as text with nine decimals, null if there is none."""
    values = list(row)
    values[0], values[1], values[9] = str(row[0]), _time(row[1]), _cost(row[9])
    return values


def _time(moment: datetime) -> str:
    return moment.isoformat().removesuffix("+00:00") + "Z"


def _cost(nano: int | None) -> str | None:
    return None if nano is None else f"{nano // _PER_DOLLAR}.{nano % _PER_DOLLAR:09d}"


def _cells(row: Row) -> list[Any]:
    """Return the cells of a row. Numbers stay numbers; what callers and providers write is text."""
    values = _values(row)
    for place in _TEXTS:
        values[place] = harmless(values[place])
    return values


_TEXTS = tuple(COLUMNS.index(name) for name in ("provider", "model", "key_source", "status", "error_type", "tag"))
# What makes a cell a formula, also behind what a spreadsheet skips and behind what one of another language parts cells
# at. The last four are the same signs in full width. See OWASP ASVS 1.2.10.
_SIGNS = "=+\\-@\uff1d\uff0b\uff0d\uff20"
_BEGINS = re.compile(rf"^(?=[\t\r\n\0]|[\s\ufeff\"']*[{_SIGNS}])")
_PARTED = re.compile(rf"(?<=[;\t\r\n])(?=\s*[{_SIGNS}])")


@lru_cache(maxsize=4096)
def harmless(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: an apostrophe stands before what it would begin with."""
    return text if text.isalnum() else _PARTED.sub("'", _BEGINS.sub("'", text))
