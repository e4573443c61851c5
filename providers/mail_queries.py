"""What a mailbox is asked: folder names in IMAP's own alphabet, and searches without a way out of them. Pure."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from digitalme.errors import InvalidRequest
from providers.mail_servers import quoted

MAX_PAGE = 100
PAGE = 20
MAX_WORD = 200
MAX_FOLDER = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_WORDS = {"from": "FROM", "to": "TO", "subject": "SUBJECT", "text": "TEXT", "message_id": "HEADER Message-ID"}
_DAYS = {"since": "SINCE", "before_day": "BEFORE"}
_FLAGS = {"seen": ("SEEN", "UNSEEN"), "flagged": ("FLAGGED", "UNFLAGGED"), "answered": ("ANSWERED", "UNANSWERED")}
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
KNOWN = frozenset({"folder", "limit", "cursor", *_WORDS, *_DAYS, *_FLAGS})


@dataclass(frozen=True, slots=True)
class Query:
    """A page of a folder's messages, newest first: those before `cursor` (a message's id), or the newest.

    `criteria` are in IMAP's words; `literal` is the last one's text where it has letters beyond ASCII.
    """

    folder: str
    limit: int
    cursor: int | None
    criteria: tuple[str, ...]
    literal: bytes | None


def query(asked: Mapping[str, str]) -> Query:
    """Read a query string. Raises InvalidRequest, which names the parameter."""
    if unknown := set(asked) - KNOWN:
        name = min(unknown)[:64]
        raise InvalidRequest(f"'{name}' is not known here. Known: {', '.join(sorted(KNOWN))}.", field=name)
    criteria: list[str] = []
    beyond: list[tuple[str, bytes]] = []
    for name, word in _WORDS.items():
        if value := asked.get(name, ""):
            _check_word(name, value)
            if value.isascii():
                criteria.append(f"{word} {quoted(value)}")
            else:
                beyond.append((word, value.encode()))
    if len(beyond) > 1:
        # A command carries one text beyond ASCII, its last.
        raise InvalidRequest("Only one of the words to look for may have letters beyond ASCII.", field="text")
    criteria += [f"{word} {_day(name, asked[name])}" for name, word in _DAYS.items() if asked.get(name)]
    criteria += [words[not _flag(name, asked[name])] for name, words in _FLAGS.items() if asked.get(name)]
    criteria += [word for word, _ in beyond]
    return Query(
        folder=folder_of(asked),
        limit=_number(asked, "limit", 1, MAX_PAGE) or PAGE,
        cursor=_number(asked, "cursor", 1, 2**32 - 1),
        criteria=tuple(criteria),
        literal=beyond[0][1] if beyond else None,
    )


def folder_of(asked: Mapping[str, str]) -> str:
    """Return the folder that is meant. Raises InvalidRequest."""
    folder = asked.get("folder") or "INBOX"
    if len(folder) > MAX_FOLDER or _CONTROL.search(folder):
        raise InvalidRequest("'folder' is no name of a folder.", field="folder")
    return folder


def _check_word(name: str, value: str) -> None:
    if len(value) > MAX_WORD or _CONTROL.search(value):
        raise InvalidRequest(f"'{name}' must be a text on one line of up to {MAX_WORD} characters.", field=name)


def _day(name: str, text: str) -> str:
    """Return a day as RFC 3501 writes it, whatever language this host speaks."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(f"'{name}' must be a day such as 2026-01-31.", field=name) from None
    return f"{day.day:02}-{_MONTHS[day.month - 1]}-{day.year:04}"


def _flag(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise InvalidRequest(f"'{name}' must be true or false.", field=name)
    return text == "true"


def _number(asked: Mapping[str, str], name: str, least: int, most: int) -> int | None:
    text = asked.get(name, "")
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,10}", text) or not least <= int(text) <= most:
        raise InvalidRequest(f"'{name}' must be a whole number from {least} to {most}.", field=name)
    return int(text)


# --- Folder names (RFC 3501, 5.1.3) --------------------------------------------------------------


def encode_folder(name: str) -> str:
    """Return a folder's name in modified UTF-7."""
    return re.sub(r"&|[^\x20-\x7e]+", lambda hit: _shifted(hit[0]), name)


def _shifted(text: str) -> str:
    if text == "&":
        return "&-"
    packed = base64.b64encode(text.encode("utf-16-be", "surrogatepass")).decode().rstrip("=").replace("/", ",")
    return f"&{packed}-"


def decode_folder(name: str) -> str:
    """Return the name that modified UTF-7 stands for; what is none stays as it is."""
    return re.sub(r"&([A-Za-z0-9+,]*)-", lambda hit: _unshifted(hit[1], hit[0]), name)


def _unshifted(packed: str, whole: str) -> str:
    if not packed:
        return "&"
    try:
        padded = packed.replace(",", "/") + "=" * (-len(packed) % 4)
        return base64.b64decode(padded, validate=True).decode("utf-16-be")
    except ValueError:
        return whole
