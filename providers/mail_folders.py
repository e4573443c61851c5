"""What is in a mailbox: folders, pages of messages, one message. Nothing here changes anything in it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from providers import mail_messages
from providers.mail_queries import Query, decode_folder, encode_folder
from providers.mail_servers import Imap, Refused, Server, imap_refusal, quoted

MAX_MESSAGE = 32 * 1024 * 1024
_HEADERS = "(UID FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (DATE FROM TO CC SUBJECT MESSAGE-ID)])"
_UID = re.compile(rb"\bUID (\d{1,10})")
_SIZE = re.compile(rb"RFC822\.SIZE (\d{1,12})")
_FLAGS = re.compile(rb"FLAGS \(([^)]*)\)")
_FOLDER = re.compile(rb'\((?P<flags>[^)]*)\) (?:"(?:\\.|[^"\\])*"|NIL) (?P<name>.+)', re.DOTALL)
# RFC 6154.
_PURPOSES = ("all", "archive", "drafts", "flagged", "junk", "sent", "trash")


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    uid: int
    size: int
    flags: frozenset[bytes]
    content: bytes

    def facts(self) -> dict[str, Any]:
        marks = {name: f"\\{name}".encode() in self.flags for name in ("seen", "answered", "flagged")}
        return {"id": self.uid, "size": self.size, **marks}


def folders(session: Imap, server: Server) -> list[dict[str, Any]]:
    """Return the folders by name, and what the server keeps each for, if it says."""
    kind, data = session.list()
    if kind != "OK":
        raise imap_refusal(server, _said(data), "unavailable")
    found = []
    for line in data:
        whole = line[0].rpartition(b"{")[0] + quoted(_text(line[1])).encode() if isinstance(line, tuple) else line
        if not isinstance(whole, bytes) or not (hit := _FOLDER.fullmatch(whole)):
            continue
        flags = {flag.lstrip("\\").lower() for flag in _text(hit["flags"]).split()}
        if "noselect" not in flags:
            purpose = next((one for one in _PURPOSES if one in flags), None)
            found.append({"name": decode_folder(_unquoted(_text(hit["name"]))), "purpose": purpose})
    return sorted(found, key=lambda one: (one["name"] != "INBOX", one["name"]))


def page(session: Imap, server: Server, asked: Query) -> dict[str, Any]:
    """Return a page of a folder's messages, newest first, and the cursor for the next one."""
    total, validity = _open(session, server, asked.folder)
    found = None if asked.criteria else _by_place(session, total, asked)
    rows, more = _by_search(session, server, asked) if found is None else found
    rows.sort(key=lambda row: -row.uid)
    return {
        "folder": asked.folder,
        "uid_validity": validity,
        "total": total,
        "messages": [{**row.facts(), **mail_messages.headers_of(row.content)} for row in rows],
        "next": rows[-1].uid if rows and more else None,
    }


def message(session: Imap, server: Server, folder: str, uid: int) -> tuple[dict[str, Any], bytes] | None:
    """Return facts and content of one message, which stays unread; None if there is none."""
    _, validity = _open(session, server, folder)
    measured = next(_rows(session.uid("FETCH", str(uid), "(UID RFC822.SIZE)")[1]), None)
    if measured is None:
        return None
    if measured.size > MAX_MESSAGE:
        raise Refused("too_large", server)
    whole = next((row for row in _rows(session.uid("FETCH", str(uid), _WHOLE)[1]) if row.uid == uid), None)
    return ({**whole.facts(), "folder": folder, "uid_validity": validity}, whole.content) if whole else None


_WHOLE = "(UID FLAGS RFC822.SIZE BODY.PEEK[])"


def _open(session: Imap, server: Server, folder: str) -> tuple[int, int | None]:
    """Open a folder for reading alone; return how many messages it has, and what its ids are valid for."""
    kind, data = session.select(quoted(encode_folder(folder)), readonly=True)
    if kind != "OK":
        raise imap_refusal(server, _said(data), "folder")
    _, validity = session.response("UIDVALIDITY")
    total, valid = _said(data), _said(validity)
    return int(total) if total.isdigit() else 0, int(valid) if valid.isdigit() else None


def _by_place(session: Imap, total: int, asked: Query) -> tuple[list[_Row], bool] | None:
    """Return the page by the places of messages, which needs no list of them all; None if the cursor's message
    is not there any more."""
    last = total
    if asked.cursor is not None:
        at = next((row for row in _rows(session.uid("FETCH", str(asked.cursor), "(UID)")[1])), None)
        if at is None:
            return None
        last = at.number - 1
    if last < 1:
        return [], False
    first = max(1, last - asked.limit + 1)
    return list(_rows(session.fetch(f"{first}:{last}", _HEADERS)[1])), first > 1


def _by_search(session: Imap, server: Server, asked: Query) -> tuple[list[_Row], bool]:
    criteria = [*asked.criteria]
    if asked.cursor is not None:
        if asked.cursor <= 1:
            return [], False
        criteria.insert(0, f"UID 1:{asked.cursor - 1}")
    if asked.literal is not None:
        criteria.insert(0, "CHARSET UTF-8")
        session.literal = asked.literal
    kind, data = session.uid("SEARCH", *(criteria or ["ALL"]))
    if kind != "OK":
        raise imap_refusal(server, _said(data), "search")
    uids = sorted({int(word) for line in data if isinstance(line, bytes) for word in line.split() if word.isdigit()})
    chosen = uids[-asked.limit :]
    if not chosen:
        return [], False
    rows = list(_rows(session.uid("FETCH", ",".join(map(str, chosen)), _HEADERS)[1]))
    return rows, len(uids) > len(chosen)


def _rows(data: list[Any]) -> Iterator[_Row]:
    """Yield what FETCH answered: a part with its content and what follows that, or a part alone."""
    place = 0
    while place < len(data):
        item, content = data[place], b""
        place += 1
        if isinstance(item, tuple):
            head, content = item
            if place < len(data) and isinstance(data[place], bytes):
                head += b" " + data[place]
                place += 1
        elif isinstance(item, bytes):
            head = item
        else:
            continue
        number, uid = re.match(rb"\d+", head), _UID.search(head)
        if number and uid:
            size, flags = _SIZE.search(head), _FLAGS.search(head)
            marks = frozenset(flags[1].lower().split()) if flags else frozenset()
            yield _Row(int(number[0]), int(uid[1]), int(size[1]) if size else 0, marks, content)


def _said(data: Any) -> str:
    last = data[-1] if data else None
    return _text(last) if isinstance(last, bytes) else ""


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _unquoted(name: str) -> str:
    if len(name) > 1 and name.startswith('"') and name.endswith('"'):
        return re.sub(r"\\(.)", r"\1", name[1:-1])
    return name
