"""Messages: written from what a caller asks for, and read into what a caller is told. Pure; no network."""

import base64
import binascii
import contextlib
import email
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.message import EmailMessage, Message
from email.policy import SMTP, compat32
from email.utils import format_datetime, formataddr, getaddresses, parsedate_to_datetime
from typing import Any

from digitalme.errors import InvalidRequest

MAX_RECIPIENTS = 100
MAX_ATTACHMENTS = 50
MAX_BYTES = 25 * 1024 * 1024
MAX_SUBJECT = 998  # RFC 5322, 2.1.1
# Lines in ASCII, whatever the server on the way can take; but for addresses that cannot be written so (RFC 6532).
_POLICY = SMTP.clone(cte_type="7bit")
_POLICY_UTF8 = _POLICY.clone(utf8=True)
_WANTED = frozenset(
    {"to", "cc", "bcc", "from_name", "reply_to", "subject", "text", "html", "attachments", "in_reply_to", "references"}
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Some mail libraries, Python's among them, decode these (RFC 2047) before they write a header, and what they hide
# is another line then.
_ENCODED = re.compile(r"=\?.*\?=", re.DOTALL)
_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)")
_ATEXT = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+/=?^_`{|}~-")
_DOMAIN = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))+")
_PERSON = re.compile(
    r"""(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<name>[^<>"]*))\s*<(?P<address>[^<>]+)>|(?P<bare>[^<>"]+)"""
)
_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,62}/[a-z0-9][a-z0-9.+-]{0,62}")
_ID = re.compile(r"<[\x21-\x3b\x3d\x3f-\x7e]{1,250}>")


@dataclass(frozen=True, slots=True)
class Composed:
    """A message that is ready to go: who gets it, what is said, and the id by which it is known."""

    recipients: tuple[str, ...]
    content: bytes
    message_id: str


def compose(asked: Mapping[str, Any], *, sender: str, message_id: str, now: datetime) -> Composed:
    """Write a message from `sender`.

    Blind copies stand on the envelope alone. Raises InvalidRequest, which names the member, for whatever
    could be read as another header, address or line than its writer meant.
    """
    if unknown := set(asked) - _WANTED:
        raise InvalidRequest(
            f"'{min(unknown)[:64]}' is not known here. A message has: {', '.join(sorted(_WANTED))}.",
            field=min(unknown)[:64],
        )
    people = {name: _people(asked, name) for name in ("to", "cc", "bcc", "reply_to")}
    written = [sender, *(address for name in ("to", "cc", "reply_to") for _, address in people[name])]
    message = EmailMessage(policy=_POLICY if "".join(written).isascii() else _POLICY_UTF8)
    message["From"] = _shown((_line(asked, "from_name", 200), sender))
    envelope = [address for name in ("to", "cc", "bcc") for _, address in people[name]]
    for name, header in (("to", "To"), ("cc", "Cc"), ("reply_to", "Reply-To")):
        if people[name]:
            message[header] = ", ".join(map(_shown, people[name]))
    if not envelope:
        raise InvalidRequest("Name at least one recipient in 'to', 'cc' or 'bcc'.", field="to")
    if len(envelope) > MAX_RECIPIENTS:
        raise InvalidRequest(f"A message has up to {MAX_RECIPIENTS} recipients.", field="to")
    message["Subject"] = _line(asked, "subject", MAX_SUBJECT)
    message["Date"] = format_datetime(now.astimezone(UTC))
    message["Message-ID"] = message_id
    _thread(message, asked)
    _fill(message, asked)
    content = message.as_bytes()
    if _BARE.search(content):
        # A server that takes a bare line feed for an end could be made to see two messages in one.
        raise InvalidRequest("The message has line ends that cannot be.", field="text")
    if len(content) > 2 * MAX_BYTES:
        raise InvalidRequest("The message is too large.", field="attachments")
    return Composed(tuple(dict.fromkeys(envelope)), content, message_id)


def _line(asked: Mapping[str, Any], name: str, most: int) -> str:
    """Return a text that goes into a header: on one line, whatever follows it being another's."""
    value = asked.get(name, "")
    if not isinstance(value, str) or len(value) > most or not _is_plain(value):
        raise InvalidRequest(
            f"'{name}' must be a text on one line of up to {most} characters, without control characters or encoded "
            "words.",
            field=name,
        )
    return value.strip()


def _is_plain(value: str) -> bool:
    """Whether a text can stand in a header and mean itself there."""
    return not _CONTROL.search(value) and not _ENCODED.search(value) and _is_text(value)


def _is_text(value: str) -> bool:
    """Whether it can be written at all: half of a surrogate pair cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _people(asked: Mapping[str, Any], name: str) -> list[tuple[str, str]]:
    """Return names and addresses of a member that is one text or a list of them."""
    given = asked.get(name) or []
    given = [given] if isinstance(given, str) else given
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise InvalidRequest(f"'{name}' must be an address, or a list of them.", field=name)
    return [_person(one, name) for one in given]


def _person(text: str, name: str) -> tuple[str, str]:
    """Return name and address of 'a@example.com' or 'A <a@example.com>'."""
    refusal = InvalidRequest(
        f"'{name}' has something that is no address. Write name@example.com, or Name <name@example.com>, each as a "
        "text of its own.",
        field=name,
    )
    if len(text) > 500 or not _is_plain(text):
        raise refusal
    found = _PERSON.fullmatch(text.strip())
    if not found:
        raise refusal
    shown = re.sub(r"\\(.)", r"\1", found["quoted"]) if found["quoted"] else (found["name"] or "").strip()
    local, _, domain = (found["address"] or found["bare"]).strip().rpartition("@")
    with contextlib.suppress(UnicodeError):
        domain = domain.encode("idna").decode()
    local = unicodedata.normalize("NFC", local)
    if not is_local(local) or not _DOMAIN.fullmatch(domain):
        raise refusal
    return shown, f"{local}@{domain}"


def is_local(text: str) -> bool:
    """Whether this can stand before the @: words with dots between them, with letters, marks and digits of any script
    (RFC 6531, 3.3), 64 bytes at most."""
    return len(text.encode()) <= 64 and all(
        word and all(one in _ATEXT or (one > "\x7f" and unicodedata.category(one)[0] in "LMN") for one in word)
        for word in text.split(".")
    )


def _shown(person: tuple[str, str]) -> str:
    """Return name and address as a header has them."""
    name, address = person
    if address.isascii():
        return formataddr(person)
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" <{address}>' if name else address


def _thread(message: EmailMessage, asked: Mapping[str, Any]) -> None:
    """Write which messages this one answers."""
    answered = asked.get("in_reply_to") or ""
    before = asked.get("references") or []
    before = [before] if isinstance(before, str) else before
    if not isinstance(answered, str) or not isinstance(before, list) or len(before) > 50:
        raise InvalidRequest("'in_reply_to' is a message's id, 'references' a list of ids.", field="references")
    for name, one in [*((("in_reply_to", answered),) if answered else ()), *(("references", one) for one in before)]:
        if not isinstance(one, str) or not _ID.fullmatch(one):
            raise InvalidRequest(f"'{name}' must be a message's id, such as <abc@example.com>.", field=name)
    if answered:
        message["In-Reply-To"] = answered
        before = before or [answered]
    if before:
        message["References"] = " ".join(before)


def _fill(message: EmailMessage, asked: Mapping[str, Any]) -> None:
    texts = {name: asked.get(name) for name in ("text", "html")}
    for name, value in texts.items():
        if value is not None and (not isinstance(value, str) or not _is_text(value)):
            raise InvalidRequest(f"'{name}' must be a text.", field=name)
    if texts["text"] is None and texts["html"] is None:
        raise InvalidRequest("Give the message a 'text', an 'html', or both.", field="text")
    if texts["text"] is not None:
        message.set_content(texts["text"])
    if texts["html"] is not None:
        if texts["text"] is None:
            message.set_content(texts["html"], subtype="html")
        else:
            message.add_alternative(texts["html"], subtype="html")
    given = asked.get("attachments") or []
    if not isinstance(given, list) or len(given) > MAX_ATTACHMENTS:
        raise InvalidRequest(f"'attachments' is a list of up to {MAX_ATTACHMENTS}.", field="attachments")
    size = 0
    for one in given:
        content, kind, name = _attachment(one)
        size += len(content)
        if size > MAX_BYTES:
            raise InvalidRequest("The attachments are larger than 25 MiB together.", field="attachments")
        main, _, sub = kind.partition("/")
        message.add_attachment(content, maintype=main, subtype=sub, filename=name)


def _attachment(one: Any) -> tuple[bytes, str, str]:
    refusal = InvalidRequest(
        "An attachment has a 'filename' without slashes, its 'content' in base64, and perhaps a 'content_type' such "
        "as application/pdf.",
        field="attachments",
    )
    if not isinstance(one, dict) or set(one) - {"filename", "content", "content_type"}:
        raise refusal
    name, content, kind = one.get("filename"), one.get("content"), one.get("content_type", "application/octet-stream")
    if not isinstance(name, str) or not isinstance(content, str) or not isinstance(kind, str):
        raise refusal
    if not name or len(name) > 255 or not _is_plain(name) or re.search(r"[/\\]", name):
        raise refusal
    if not _TYPE.fullmatch(kind.lower()) or kind.lower().startswith(("multipart/", "message/")):
        raise refusal
    try:
        return base64.b64decode(content, validate=True), kind.lower(), name
    except (binascii.Error, ValueError):
        raise refusal from None


# --- Reading -------------------------------------------------------------------------------------


def headers_of(raw: bytes) -> dict[str, Any]:
    """Return what a list shows of a message, of which at least the headers are given."""
    message = email.message_from_bytes(raw, policy=compat32)
    return {
        "message_id": _header(message, "message-id")[:998],
        "from": _addresses(message, "from"),
        "to": _addresses(message, "to"),
        "cc": _addresses(message, "cc"),
        "subject": _header(message, "subject"),
        "date": _date(message),
    }


def read(raw: bytes) -> dict[str, Any]:
    """Return a whole message: headers, text, HTML as it came, and what is attached, without its content."""
    message = email.message_from_bytes(raw, policy=compat32)
    bodies: dict[str, str] = {}
    attached: list[dict[str, Any]] = []
    for part in _leaves(message):
        kind = part.get_content_type()
        wanted = {"text/plain": "text", "text/html": "html"}.get(kind, "")
        if wanted and wanted not in bodies and not _is_attachment(part):
            bodies[wanted] = _text(part)
        else:
            attached.append(_described(part, len(attached)))
    return {
        **headers_of(raw),
        "reply_to": _addresses(message, "reply-to"),
        "in_reply_to": _header(message, "in-reply-to")[:998],
        "references": _header(message, "references").split(),
        "text": bodies.get("text"),
        "html": bodies.get("html"),
        "attachments": attached,
    }


def attachment(raw: bytes, index: int) -> tuple[str, str, bytes] | None:
    """Return name, type and content of what is attached, as `read` numbers it; None if there is none."""
    message = email.message_from_bytes(raw, policy=compat32)
    seen: set[str] = set()
    number = 0
    for part in _leaves(message):
        kind = part.get_content_type()
        if kind in ("text/plain", "text/html") and kind not in seen and not _is_attachment(part):
            seen.add(kind)
            continue
        if number == index:
            return _filename(part), _safe_type(kind), _content(part)
        number += 1
    return None


def _leaves(message: Message) -> Iterator[Message]:
    """Yield the parts that have content of their own; a message within the message is one."""
    if message.get_content_maintype() == "multipart" and isinstance(message.get_payload(), list):
        for part in message.get_payload():
            if isinstance(part, Message):
                yield from _leaves(part)
    else:
        yield message


def _is_attachment(part: Message) -> bool:
    return _disposition(part) == "attachment" or bool(part.get_filename())


def _disposition(part: Message) -> str:
    return str(part.get("content-disposition", "")).partition(";")[0].strip().lower()


def _described(part: Message, index: int) -> dict[str, Any]:
    return {
        "index": index,
        "filename": _filename(part),
        "content_type": _safe_type(part.get_content_type()),
        "size": len(_content(part)),
        "inline": _disposition(part) == "inline",
        "content_id": _header(part, "content-id").strip("<> ")[:250],
    }


def _safe_type(kind: str) -> str:
    return kind if _TYPE.fullmatch(kind) else "application/octet-stream"


def _filename(part: Message) -> str:
    """Return a name that is safe to save under: no folder, no control character."""
    try:
        named = _decoded(part.get_filename() or "")
    except (LookupError, ValueError):
        named = ""
    named = _CONTROL.sub("", named).replace("\\", "/").rpartition("/")[2].strip(". ")
    return named[:255] or "attachment"


def _content(part: Message) -> bytes:
    if part.get_content_maintype() == "message" and isinstance(part.get_payload(), list):
        return b"".join(inner.as_bytes() for inner in part.get_payload() if isinstance(inner, Message))
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _text(part: Message) -> str:
    content, named = _content(part), part.get_content_charset("utf-8")
    try:
        return content.decode(named, "replace")
    except (LookupError, ValueError):
        return content.decode("utf-8", "replace")


def _header(message: Message, name: str) -> str:
    return _decoded(str(message.get(name, "")))


def _decoded(value: str) -> str:
    """Return a header's text on one line; what cannot be decoded stays as it came."""
    with contextlib.suppress(LookupError, ValueError):
        value = str(make_header(decode_header(value)))
    return _CONTROL.sub(" ", value.encode("utf-8", "replace").decode()).strip()


def _addresses(message: Message, name: str) -> list[dict[str, str]]:
    found = getaddresses([str(value) for value in message.get_all(name, [])])
    return [{"name": _decoded(shown), "address": _decoded(address)} for shown, address in found[:500] if address]


def _date(message: Message) -> str | None:
    """Return the date as it is written in the message, with its offset; None if it cannot be read."""
    try:
        return parsedate_to_datetime(str(message.get("date", ""))).isoformat()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
