"""Sessions with the SMTP and IMAP servers that people name: over verified TLS or not at all, and never for long.

What a server says is read for its codes and never passed on: it could echo the password.
"""

import base64
import contextlib
import imaplib
import re
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from digitalme.errors import ProviderUnavailable, SecurityViolation, ValidationTimeout
from providers import addresses, outbound
from providers.secrets import Secret

SMTP_PORTS = frozenset({465, 587})
IMAP_PORTS = frozenset({993})
MAX_SAID = 1_000_000  # bytes that an SMTP server may say in one session
MAX_READ = 64 * 1024 * 1024  # bytes that an IMAP server may send in one session
LOCAL_NAME = "[127.0.0.1]"  # an address literal (RFC 5321, 4.1.3), so that nobody learns this host's name
Kind = Literal[
    "login", "app_password", "expired", "busy", "quota", "unavailable", "no_tls", "certificate", "wrong_security",
    "no_login", "no_utf8", "sender", "recipients", "content", "too_large", "folder", "search",
]  # fmt: skip
_ENHANCED = re.compile(rb"\s*([245]\.\d{1,3}\.\d{1,3})\b")
_IMAP_CODE = re.compile(r"\[([A-Z-]{1,32})[\] ]")
# RFC 5530, and what it stands for here.
_IMAP_KINDS: dict[str, Kind] = {
    "EXPIRED": "expired",
    "UNAVAILABLE": "unavailable",
    "INUSE": "unavailable",
    "LIMIT": "busy",
    "OVERQUOTA": "quota",
    "PRIVACYREQUIRED": "no_tls",
    "NONEXISTENT": "folder",
}


class Refused(Exception):
    """A server did not do what it was asked. `code` is its own code, in characters that mean nothing anywhere."""

    def __init__(self, kind: Kind, server: "Server", code: str = "", refused: dict[str, str] | None = None) -> None:
        super().__init__()
        self.kind: Kind = kind
        self.server, self.code, self.refused = server, code, refused or {}

    def __str__(self) -> str:
        return f"{self.server}: {self.kind} {self.code}".rstrip()


@dataclass(frozen=True, slots=True)
class Server:
    """A server as its owner names it. With `starttls` the line becomes TLS before anything else is said."""

    protocol: Literal["smtp", "imap"]
    host: str
    port: int
    starttls: bool

    def __str__(self) -> str:
        """Its address: what is sealed with the password that goes there."""
        return f"{self.protocol}://{self.host}:{self.port}"

    @property
    def is_private(self) -> bool:
        """Whether the operator lets it be on this network. Raises SecurityViolation unless it may be reached."""
        return addresses.own_host(self.host, self.port, SMTP_PORTS if self.protocol == "smtp" else IMAP_PORTS)


class Lines:
    """The connections of one call. All of them are cut when the time is over, or when the call is given up:
    a server that speaks a byte a minute never runs into a socket's own time limit."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._guards: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._late = self._given_up = False

    def __enter__(self) -> "Lines":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self.give_up()
        with self._lock:
            for guard in self._guards:
                guard.close()
            self._guards = []

    def _expire(self) -> None:
        self._late = True
        self.give_up()

    def give_up(self) -> None:
        """Cut every line; whoever waits on one wakes up. From any thread."""
        with self._lock:
            self._given_up = True
            for guard in self._guards:
                with contextlib.suppress(OSError):
                    guard.shutdown(socket.SHUT_RDWR)

    @property
    def late(self) -> bool:
        """Whether the time is over, which a socket may notice before the timer does."""
        return self._late or time.monotonic() >= self._deadline

    @property
    def left(self) -> float:
        """The seconds left. Raises ValidationTimeout if there are none."""
        left = self._deadline - time.monotonic()
        if left <= 0 or self._given_up:
            raise ValidationTimeout("The mail server did not answer in time.")
        return left

    def open(self, server: Server) -> socket.socket:
        """Return a line to a server, before any TLS. Raises as outbound.connect."""
        line = outbound.connect(server.host, server.port, operator=server.is_private, timeout=self.left)
        with self._lock:
            # A copy of the descriptor: TLS takes the first one over.
            self._guards.append(line.dup())
        line.settimeout(self.left)
        return line


def _secured(line: socket.socket, server: Server) -> socket.socket:
    """Return the line as TLS. Its own copy of the descriptor is closed by who uses it."""
    return outbound.tls().wrap_socket(line, server_hostname=server.host)


@contextlib.contextmanager
def _understood(server: Server, lines: Lines) -> Iterator[None]:
    """Tell what the libraries raise apart, and leave behind what a server said."""
    try:
        yield
    except (Refused, ProviderUnavailable, SecurityViolation, ValidationTimeout):
        raise
    except smtplib.SMTPResponseException as said:
        raise _smtp_refusal(server, int(said.smtp_code), said.smtp_error, "content") from None
    except ssl.SSLCertVerificationError:
        raise Refused("certificate", server) from None
    except (OSError, EOFError, imaplib.IMAP4.error, UnicodeError) as problem:
        if lines.late or isinstance(problem, TimeoutError):
            raise ValidationTimeout(f"{server.host} did not answer on port {server.port} in time.") from None
        if isinstance(problem, ssl.SSLError) and problem.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
            raise Refused("wrong_security", server) from None
        raise ProviderUnavailable(f"{server.host} broke the connection off.", reason="network") from None


# --- SMTP ----------------------------------------------------------------------------------------


class _Bounded:
    """What a server says, line by line, up to MAX_SAID bytes."""

    def __init__(self, file: Any) -> None:
        self._file, self._left = file, MAX_SAID

    def readline(self, limit: int) -> bytes:
        line: bytes = self._file.readline(limit)
        self._left -= len(line)
        if self._left < 0:
            raise OSError("too much said")
        return line

    def close(self) -> None:
        self._file.close()


class Smtp(smtplib.SMTP):
    """The library's protocol over a line that is there already."""

    def __init__(self, line: socket.socket, host: str, timeout: float) -> None:
        super().__init__(local_hostname=LOCAL_NAME, timeout=timeout)
        self.sock = line
        # The name that STARTTLS verifies.
        self._host = host

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _Bounded(self.sock.makefile("rb"))
        return super().getreply()


@contextlib.contextmanager
def smtp(server: Server, user: str, password: Secret, lines: Lines) -> Iterator[Smtp]:
    """Log in for the block. Raises Refused, ProviderUnavailable, SecurityViolation and ValidationTimeout."""
    with _understood(server, lines):
        line = lines.open(server)
        try:
            if not server.starttls:
                line = _secured(line, server)
            session = Smtp(line, server.host, lines.left)
            with contextlib.closing(session):
                _greet(session, server)
                _log_in(session, server, user, password)
                yield session
                with contextlib.suppress(smtplib.SMTPException, OSError):
                    session.quit()
        finally:
            line.close()


def _greet(session: Smtp, server: Server) -> None:
    """Hear the greeting and see to TLS. A server that does not offer it gets neither name nor password."""
    code, said = session.getreply()
    if code != 220:
        raise _smtp_refusal(server, code, said, "unavailable")
    session.ehlo_or_helo_if_needed()
    if server.starttls:
        if not session.has_extn("starttls"):
            raise Refused("no_tls", server)
        try:
            session.starttls(context=outbound.tls())
        except smtplib.SMTPResponseException as refused:
            raise Refused("no_tls", server, str(int(refused.smtp_code))) from None
        session.ehlo_or_helo_if_needed()
    if not isinstance(session.sock, ssl.SSLSocket):
        raise Refused("no_tls", server)


def _log_in(session: Smtp, server: Server, user: str, password: Secret) -> None:
    """Authenticate in UTF-8 (RFC 4616), which the library's own way cannot."""
    ways = session.esmtp_features.get("auth", "").upper().split()
    if "PLAIN" in ways:
        code, said = session.docmd("AUTH", f"PLAIN {_base64(_plain(user, password))}")
    elif "LOGIN" in ways:
        code, said = session.docmd("AUTH", "LOGIN")
        for word in (user, password.reveal()):
            if code == 334:
                code, said = session.docmd(_base64(word))
    else:
        raise Refused("no_login", server)
    if code != 235:
        raise _smtp_refusal(server, code, said, "login")


def _plain(user: str, password: Secret) -> str:
    return f"\0{user}\0{password.reveal()}"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def submit(session: Smtp, server: Server, sender: str, recipients: Sequence[str], message: bytes) -> dict[str, str]:
    """Hand a message over, and return the recipients that the server refused, each with its code. Raises Refused
    if it took none, or not the message. Addresses beyond ASCII go as they are (RFC 6531), to a server that takes
    them."""
    options = [f"size={len(message)}"] if session.has_extn("size") else []
    if not (message.isascii() and all(one.isascii() for one in (sender, *recipients))):
        if not session.has_extn("smtputf8"):
            raise Refused("no_utf8", server)
        options.append("smtputf8")
    code, said = session.mail(sender, options)
    if code != 250:
        raise _smtp_refusal(server, code, said, "sender")
    refused, last = {}, (code, said)
    for recipient in recipients:
        last = session.rcpt(recipient)
        if last[0] not in (250, 251):
            refused[recipient] = _code(*last)
    if len(refused) == len(recipients):
        failure = _smtp_refusal(server, *last, "recipients")
        raise Refused(failure.kind, server, failure.code, refused)
    code, said = session.data(message)
    if code != 250:
        raise _smtp_refusal(server, code, said, "content")
    return refused


def _code(code: int, said: bytes) -> str:
    enhanced = _ENHANCED.match(said)
    return f"{code} {enhanced[1].decode()}" if enhanced else str(code)


def _smtp_refusal(server: Server, code: int, said: bytes | str, during: Kind) -> Refused:
    """Return what a reply means (RFC 5321, 3463, 4954), by what was asked."""
    text = _code(code, said if isinstance(said, bytes) else said.encode())
    return Refused(_smtp_kind(code, text.partition(" ")[2], during), server, text)


def _smtp_kind(code: int, enhanced: str, during: Kind) -> Kind:
    if enhanced == "5.7.9" or code == 534:
        return "app_password"
    if code in (530, 535, 538) or enhanced == "5.7.8":
        return "login"
    if enhanced.endswith(".3.4"):
        return "too_large"
    if code == 552 or enhanced in ("5.2.2", "5.4.5", "4.2.2", "4.5.3"):
        return "quota"
    if code == 421 or (enhanced.startswith("4.7.") and code != 454):
        return "busy"
    return "unavailable" if code < 500 else during


# --- IMAP ----------------------------------------------------------------------------------------


class Imap(imaplib.IMAP4):
    """The library's protocol over a line that is there already, reading so much and no more."""

    literal: Any

    def __init__(self, line: socket.socket, host: str, timeout: float) -> None:
        self._line, self._unread = line, MAX_READ
        super().__init__(host, timeout=timeout)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        return self._line

    def read(self, size: int) -> bytes:
        self._count(size)
        return super().read(size)

    def readline(self) -> bytes:
        line = super().readline()
        self._count(len(line))
        return line

    def _count(self, size: int) -> None:
        self._unread -= size
        if self._unread < 0:
            raise self.abort("too much sent")


@contextlib.contextmanager
def imap(server: Server, user: str, password: Secret, lines: Lines) -> Iterator[Imap]:
    """Log in for the block. Raises Refused, ProviderUnavailable, SecurityViolation and ValidationTimeout."""
    with _understood(server, lines):
        line = lines.open(server)
        try:
            if not server.starttls:
                line = _secured(line, server)
            session = Imap(line, server.host, lines.left)
            try:
                _enter(session, server, user, password)
                yield session
                with contextlib.suppress(imaplib.IMAP4.error, OSError):
                    session.logout()
            finally:
                session.file.close()
                session.sock.close()
        finally:
            line.close()


def _enter(session: Imap, server: Server, user: str, password: Secret) -> None:
    if server.starttls:
        # A greeting that says one is logged in already would let nothing be secured any more.
        if session.state != "NONAUTH" or "STARTTLS" not in session.capabilities:
            raise Refused("no_tls", server)
        session.starttls(outbound.tls())
    if not isinstance(session.sock, ssl.SSLSocket):
        raise Refused("no_tls", server)
    try:
        if "AUTH=PLAIN" in session.capabilities:
            session.authenticate("PLAIN", lambda _: _plain(user, password).encode())
        elif "LOGINDISABLED" not in session.capabilities:
            session.login(quoted(user), password.reveal())
        else:
            raise Refused("no_login", server)
    except UnicodeEncodeError:
        raise Refused("no_login", server) from None
    except imaplib.IMAP4.abort:
        raise
    except imaplib.IMAP4.error as said:
        raise imap_refusal(server, str(said), "login") from None


def quoted(text: str) -> str:
    """Return a text as a quoted string (RFC 3501, 4.3); it must be ASCII without control characters."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def imap_refusal(server: Server, said: str, otherwise: Kind) -> Refused:
    """Return what a NO means, by its code if it has one."""
    found = _IMAP_CODE.search(said)
    code = found[1] if found else ""
    return Refused(_IMAP_KINDS.get(code, otherwise), server, code)
