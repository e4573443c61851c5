"""Mail servers on loopback: an authority for their certificates, an SMTP server that keeps what it gets."""

import contextlib
import imaplib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ADDRESS, PASSWORD = "alice@mail.test", 'pass wörd-canary"\\ 7'
PEOPLE = {ADDRESS: PASSWORD}


class Authority:
    """Signs certificates; `file` is what must be trusted for them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tests' authority")])
        self._root = _certificate(self._name, self._name, self._key, self._key, ca=True)
        self.file = folder / "authority.pem"
        self.file.write_bytes(self._root.public_bytes(serialization.Encoding.PEM))

    def certificate(self, host: str) -> Path:
        """Return a file with a certificate for a host, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        signed = _certificate(subject, self._name, key, self._key, host=host)
        file = self._folder / f"{host}-{key.public_key().public_numbers().x:x}.pem"
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + secret)
        return file


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    ca: bool = False,
    host: str = "",
) -> x509.Certificate:
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if host:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    return made.sign(signer, hashes.SHA256())


@dataclass
class Inbox:
    """What an SMTP server got: envelopes, and every attempt to log in, in the clear or not. It lets one person in, or
    anybody."""

    port: int = 0
    envelopes: list[Envelope] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    answer: str = "250 OK"
    refuses: frozenset[str] = frozenset()
    anybody: bool = False
    passwords: list[bytes] = field(default_factory=list)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Envelope, address: str, options: Any) -> str:
        if address in self.refuses:
            return "550 5.1.1 No such person"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:
        if self.answer.startswith("250"):
            self.envelopes.append(envelope)
        return self.answer

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: LoginPassword) -> AuthResult:
        self.logins.append(mechanism)
        self.passwords.append(data.password)
        if self.anybody or (data.login, data.password) == (ADDRESS.encode(), PASSWORD.encode()):
            return AuthResult(success=True)
        return AuthResult(success=False, handled=False)

    def reset(self) -> None:
        """Forget what was got, and take everything."""
        self.envelopes, self.logins, self.answer, self.refuses = [], [], "250 OK", frozenset()
        self.anybody, self.passwords = False, []

    @property
    def messages(self) -> list[EmailMessage]:
        """What was said, read."""
        return [message_from_bytes(cast(bytes, one.content), policy=policy.default) for one in self.envelopes]


def context(certificate: Path) -> ssl.SSLContext:
    """Return a server's side of TLS."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate)
    return made


@contextlib.contextmanager
def smtp_server(port: int, certificate: Path | None, *, starttls: bool = True, **more: Any) -> Iterator[Inbox]:
    """Run an SMTP server on loopback: with STARTTLS, with TLS at once, or, without a certificate, in the clear."""
    inbox = Inbox(port)
    tls = context(certificate) if certificate else None
    controller = Controller(
        inbox,
        hostname="127.0.0.1",
        port=port,
        authenticator=inbox.authenticate,
        auth_required=bool(tls and starttls),
        auth_require_tls=bool(tls and starttls),
        tls_context=tls if starttls else None,
        require_starttls=bool(tls and starttls),
        ssl_context=tls if tls and not starttls else None,
        **more,
    )
    controller.start()
    try:
        yield inbox
    finally:
        controller.stop()


def fields(**more: str) -> dict[str, str]:
    """Return what a person enters for a mailbox, further hosts and ports to be added."""
    return {"address": ADDRESS, "password": PASSWORD, **more}


def sending(port: int, security: str = "starttls") -> dict[str, str]:
    """Return what names the SMTP server on this port of this host."""
    return {"smtp_host": "localhost", "smtp_port": str(port), "smtp_security": security}


def reading(port: int, security: str = "tls") -> dict[str, str]:
    """Return what names the IMAP server on this port of this host."""
    return {"imap_host": "localhost", "imap_port": str(port), "imap_security": security}


def put(port: int, authority: Path, folder: str, *messages: bytes) -> None:
    """Put messages into a mailbox, making its folder if need be."""
    with imaplib.IMAP4_SSL("localhost", port, ssl_context=ssl.create_default_context(cafile=str(authority))) as server:
        server.authenticate("PLAIN", lambda _: f"\0{ADDRESS}\0{PASSWORD}".encode())
        if folder != "INBOX":
            server.create(folder)
        for one in messages:
            kind, said = server.append(folder, "", None, one)
            assert kind == "OK", said
