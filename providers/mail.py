"""E-mail as JSON: sent by SMTP, listed and read by IMAP, with a mailbox whose servers its owner names."""

import asyncio
import contextvars
import json
import re
import threading
import unicodedata
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qsl, quote

from digitalme.errors import (
    InvalidKeyFormat,
    InvalidRequest,
    ProviderUnavailable,
    SecurityViolation,
    ValidationTimeout,
)
from providers import mail_folders, mail_messages, mail_queries, mail_refusals, mail_servers
from providers.adapter import Adapter, Answer, Asked, Headers, Said
from providers.mail_servers import Lines, Refused, Server
from providers.manifest import Manifest
from providers.outcomes import Category, Outcome
from providers.payloads import json_object
from providers.registry import Provider
from providers.secrets import Secret

CALL_SECONDS = 60.0
MAX_CALLS = 32  # that run at once in this process, each in a thread
MAX_CALLS_OF_HOST = 8  # so that one slow server does not hold up all others
_PORTS = {"smtp": 465, "imap": 993}
_STARTTLS_PORTS = (587, 143)
_threads = ThreadPoolExecutor(MAX_CALLS, "mail")


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox as its owner entered it."""

    address: str
    user: str
    password: Secret
    smtp: Server | None
    imap: Server | None

    @property
    def servers(self) -> tuple[Server, ...]:
        """The servers that there are."""
        return tuple(one for one in (self.smtp, self.imap) if one)


def mailbox(fields: Mapping[str, Secret]) -> Mailbox:
    """Return the mailbox that these fields describe; what is left out follows from what is usual.

    Raises InvalidKeyFormat if the address or the password is not there.
    """
    if not {"address", "password"} <= fields.keys():
        raise InvalidKeyFormat("The stored mailbox is not complete. Enter it again.")
    plain = {name: secret.reveal() for name, secret in fields.items() if name != "password"}
    address = unicodedata.normalize("NFC", plain["address"])
    return Mailbox(
        address=address,
        user=plain.get("username") or address,
        password=fields["password"],
        smtp=_server("smtp", plain),
        imap=_server("imap", plain),
    )


def _server(protocol: Literal["smtp", "imap"], plain: Mapping[str, str]) -> Server | None:
    host = plain.get(f"{protocol}_host", "").lower()
    if not host:
        return None
    given, security = plain.get(f"{protocol}_port"), plain.get(f"{protocol}_security")
    port = int(given) if given else 587 if protocol == "smtp" and security == "starttls" else _PORTS[protocol]
    return Server(protocol, host, port, security == "starttls" if security else port in _STARTTLS_PORTS)


class Mail(Adapter):
    """Answers for mailboxes."""

    own_destination = True

    def destination(self, provider: Provider, fields: Mapping[str, Secret]) -> tuple[str, ...]:
        """Return the servers: the password goes to these alone."""
        return tuple(map(str, mailbox(fields).servers))

    def check_fields(self, manifest: Manifest, fields: Mapping[str, Secret]) -> None:
        """Raise InvalidKeyFormat unless there is a server, and each may be reached."""
        box = mailbox(fields)
        servers = box.servers
        if not mail_messages.is_local(box.address.rpartition("@")[0]):
            raise InvalidKeyFormat("This is no e-mail address: something before its @ cannot be.", field="address")
        if not servers:
            raise InvalidKeyFormat("Enter the SMTP host to send, the IMAP host to read, or both.", field="smtp_host")
        for server in servers:
            try:
                server.is_private  # noqa: B018 (it is a check)
            except SecurityViolation as problem:
                raise InvalidKeyFormat(problem.message, field=f"{server.protocol}_host") from None

    def check(self, provider: Provider, fields: Mapping[str, Secret], *, timeout: float) -> Outcome:
        """Log in to each server; no message is sent, and none is read."""
        box = mailbox(fields)
        try:
            with Lines(timeout) as lines:
                if box.smtp:
                    with mail_servers.smtp(box.smtp, box.user, box.password, lines) as smtp:
                        smtp.noop()
                if box.imap:
                    with mail_servers.imap(box.imap, box.user, box.password, lines) as imap:
                        imap.select("INBOX", readonly=True)
        except Refused as refused:
            detail = {"server": str(refused.server), **({"code": refused.code} if refused.code else {})}
            return Outcome(mail_refusals.category(refused), mail_refusals.sentence(refused), detail)
        except ProviderUnavailable as problem:
            return Outcome(Category.NETWORK, f"{problem.message} The password was not judged.", dict(problem.data))
        except ValidationTimeout as problem:
            hint = "Is the port right, and 'tls' or 'starttls' what it wants? The password was not judged."
            return Outcome(Category.TIMEOUT, f"{problem.message} {hint}")
        return Outcome(Category.VALID, _works(box), {"facts": {"servers": ", ".join(map(str, box.servers))}})

    async def answer(self, asked: Asked) -> Answer:
        """Carry the call out in a thread, within CALL_SECONDS; a caller who leaves has its lines cut."""
        box = mailbox(asked.fields)
        lines = Lines(CALL_SECONDS)
        context = contextvars.copy_context()
        work = asyncio.get_running_loop().run_in_executor(_threads, context.run, _carry_out, asked, box, lines)
        try:
            return await work
        except asyncio.CancelledError:
            lines.give_up()
            raise


def _works(box: Mailbox) -> str:
    if box.smtp and box.imap:
        return "Sending and reading work."
    if box.smtp:
        return "Sending works. Without an IMAP host nothing can be read."
    return "Reading works. Without an SMTP host nothing can be sent."


Deed = Callable[[Lines], Answer]


class _Running:
    """The calls that run now, by host."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hosts: Counter[str] = Counter()

    @contextmanager
    def one_more(self, box: Mailbox) -> Iterator[None]:
        """Let a call run. Raises ProviderUnavailable, before anything is sent, if there are too many."""
        hosts = {server.host for server in box.servers}
        with self._lock:
            if any(self._hosts[host] >= MAX_CALLS_OF_HOST for host in hosts):
                raise ProviderUnavailable(
                    "Too many calls to this mail server run at once. Try again.", reason="connect"
                )
            self._hosts.update(hosts)
        try:
            yield
        finally:
            with self._lock:
                self._hosts.subtract(hosts)


_running = _Running()


def _carry_out(asked: Asked, box: Mailbox, lines: Lines) -> Answer:
    deed = _DEEDS[asked.operation.name](asked, box)
    try:
        with _running.one_more(box), lines:
            return deed(lines)
    except ValidationTimeout as problem:
        # What was said until then counts.
        raise ProviderUnavailable(problem.message, reason="timeout") from None
    except Refused as refused:
        facts: dict[str, Any] = {"server": str(refused.server)}
        if refused.code:
            facts["server_code"] = refused.code
        if refused.refused:
            facts["refused"] = refused.refused
        return _problem(mail_refusals.status(refused), refused.kind, mail_refusals.sentence(refused), **facts)


# --- What can be asked ---------------------------------------------------------------------------


def _send(asked: Asked, box: Mailbox) -> Deed:
    server = _needed(box.smtp, "SMTP", "send")
    domain = box.address.rpartition("@")[2]
    message = mail_messages.compose(
        json_object(asked.body),
        sender=box.address,
        message_id=f"<{uuid.uuid4().hex}@{domain}>",
        now=datetime.now(UTC),
    )

    def deed(lines: Lines) -> Answer:
        with mail_servers.smtp(server, box.user, box.password, lines) as session:
            refused = mail_servers.submit(session, server, box.address, message.recipients, message.content)
        return _json(
            202,
            {
                "message_id": message.message_id,
                "accepted": [one for one in message.recipients if one not in refused],
                "refused": refused,
                "size": len(message.content),
            },
        )

    return deed


def _list(asked: Asked, box: Mailbox) -> Deed:
    server, wanted = _needed(box.imap, "IMAP", "read"), mail_queries.query(_query(asked))

    def deed(lines: Lines) -> Answer:
        with mail_servers.imap(server, box.user, box.password, lines) as session:
            return _json(200, mail_folders.page(session, server, wanted))

    return deed


def _folders(asked: Asked, box: Mailbox) -> Deed:
    server = _needed(box.imap, "IMAP", "read")

    def deed(lines: Lines) -> Answer:
        with mail_servers.imap(server, box.user, box.password, lines) as session:
            return _json(200, {"folders": mail_folders.folders(session, server)})

    return deed


def _read(asked: Asked, box: Mailbox) -> Deed:
    found = _one(asked, box)

    def deed(lines: Lines) -> Answer:
        one = found(lines)
        return _json(200, {**one[0], **mail_messages.read(one[1])}) if one else _nothing("message")

    return deed


def _attachment(asked: Asked, box: Mailbox) -> Deed:
    found, index = _one(asked, box), _segment(asked, 4)

    def deed(lines: Lines) -> Answer:
        one = found(lines)
        attached = mail_messages.attachment(one[1], index) if one else None
        return _file(*attached) if attached else _nothing("attachment")

    return deed


_DEEDS: Mapping[str, Callable[[Asked, Mailbox], Deed]] = {
    "send": _send,
    "list": _list,
    "folders": _folders,
    "read": _read,
    "attachment": _attachment,
}


def _one(asked: Asked, box: Mailbox) -> Callable[[Lines], tuple[dict[str, Any], bytes] | None]:
    """Return what finds the message that the path names."""
    server, uid = _needed(box.imap, "IMAP", "read"), _segment(asked, 2)
    given = _query(asked)
    if unknown := set(given) - {"folder"}:
        raise InvalidRequest(f"'{min(unknown)[:64]}' is not known here. Known: folder.", field=min(unknown)[:64])
    folder = mail_queries.folder_of(given)

    def find(lines: Lines) -> tuple[dict[str, Any], bytes] | None:
        with mail_servers.imap(server, box.user, box.password, lines) as session:
            return mail_folders.message(session, server, folder, uid)

    return find


def _needed(server: Server | None, name: str, what: str) -> Server:
    if server is None:
        raise InvalidRequest(f"This mailbox has no {name} host, so it cannot {what}. Add it under Settings, API keys.")
    return server


def _segment(asked: Asked, place: int) -> int:
    """Return the number that stands in the path. Raises InvalidRequest."""
    text = asked.path.partition("?")[0].split("/")[place]
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) >= 2**32:
        raise InvalidRequest("Messages and attachments are named by their numbers.")
    return int(text)


def _query(asked: Asked) -> dict[str, str]:
    pairs = parse_qsl(asked.path.partition("?")[2], keep_blank_values=True)
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidRequest("Each parameter may be given once.")
    return found


# --- Answers -------------------------------------------------------------------------------------


def _json(status: int, value: Mapping[str, Any], kind: bytes = b"application/json") -> Said:
    headers: Headers = [(b"content-type", kind), (b"cache-control", b"no-store")]
    return Said(status, headers, [json.dumps(value, separators=(",", ":")).encode()])


def _problem(status: int, title: str, detail: str, **facts: Any) -> Said:
    """Return what a server refused, as a problem document (RFC 9457)."""
    problem = {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": title, **facts}
    return _json(status, problem, b"application/problem+json")


def _nothing(what: str) -> Said:
    return _problem(404, f"no_{what}", f"The folder has no such {what}. Messages are named by their 'id' in the list.")


def _file(name: str, kind: str, content: bytes) -> Said:
    """Return a file to be saved, never shown: who wrote the message may have meant harm."""
    headers: Headers = [
        (b"content-type", kind.encode()),
        (b"content-disposition", f"attachment; filename*=UTF-8''{quote(name, safe='')}".encode()),
        (b"content-security-policy", b"sandbox"),
        (b"cache-control", b"no-store"),
    ]
    return Said(200, headers, [content])
