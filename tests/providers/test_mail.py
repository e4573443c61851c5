"""What a check of a mailbox comes to, and that a password is never sent but over verified TLS."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from aiosmtpd.smtp import SMTP

from digitalme.errors import InvalidKeyFormat
from providers import adapters, outbound, registry, validation
from providers.secrets import Secret
from providers.validation import Category, Outcome
from tests import mailboxes, servers
from tests.address_forms import INSIDE
from tests.mailboxes import Authority, Inbox, fields, reading, sending, smtp_server

EMAIL = "email"


def check(given: dict[str, str], *, timeout: float = 10) -> Outcome:
    return validation.check(registry.get(EMAIL), secrets(given), timeout=timeout)


def secrets(given: dict[str, str]) -> dict[str, Secret]:
    return {name: Secret(value) for name, value in given.items()}


@contextlib.contextmanager
def saying(*answers: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A server that greets with the first answer, says the next one to each thing it hears, then nothing more."""
    heard: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            line, _ = listener.accept()
            with line:
                for answer in answers:
                    line.sendall(answer)
                    heard.append(line.recv(65_536))
                while piece := line.recv(65_536):
                    heard.append(piece)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1], heard
    finally:
        listener.close()
        thread.join(10)


@pytest.mark.usefixtures("trusted")
def test_both_servers_are_asked(inbox: Inbox, dovecot: servers.Dovecot) -> None:
    outcome = check(fields(**sending(inbox.port), **reading(dovecot.tls_port)))
    assert (outcome.category, outcome.message) == (Category.VALID, "Sending and reading work.")
    assert (inbox.logins, inbox.envelopes) == (["PLAIN"], []), "nothing is sent"


@pytest.mark.usefixtures("trusted")
def test_one_server_is_enough(inbox: Inbox, dovecot: servers.Dovecot) -> None:
    assert "nothing can be read" in check(fields(**sending(inbox.port))).message
    assert "nothing can be sent" in check(fields(**reading(dovecot.starttls_port, "starttls"))).message


@pytest.mark.usefixtures("trusted")
def test_tls_at_once_and_the_older_way_to_log_in_work(authority: Authority) -> None:
    certificate = authority.certificate("localhost")
    with smtp_server(servers.free_port(), certificate, starttls=False, auth_exclude_mechanism=["PLAIN"]) as inbox:
        assert check(fields(**sending(inbox.port, "tls"))).category is Category.VALID
        assert inbox.logins == ["LOGIN"]


@pytest.mark.usefixtures("trusted")
def test_a_wrong_password_is_invalid(inbox: Inbox, dovecot: servers.Dovecot) -> None:
    wrong = {"address": mailboxes.ADDRESS, "password": "not the one"}
    by_smtp, by_imap = check({**wrong, **sending(inbox.port)}), check({**wrong, **reading(dovecot.tls_port)})
    assert (by_smtp.category, by_smtp.detail["code"]) == (Category.INVALID, "535 5.7.8")
    assert (by_imap.category, by_imap.detail["code"]) == (Category.INVALID, "AUTHENTICATIONFAILED")
    assert "app password" in by_smtp.message


@pytest.mark.usefixtures("trusted")
def test_a_wrong_password_is_tried_at_one_server_only(inbox: Inbox, dovecot: servers.Dovecot) -> None:
    wrong = {"address": mailboxes.ADDRESS, "password": "not the one"}
    assert check({**wrong, **sending(inbox.port), **reading(dovecot.tls_port)}).detail["server"].startswith("smtp:")


@pytest.mark.usefixtures("trusted")
def test_the_wrong_security_is_named(inbox: Inbox, dovecot: servers.Dovecot) -> None:
    for given in (sending(inbox.port, "tls"), reading(dovecot.starttls_port, "tls")):
        outcome = check(fields(**given))
        assert (outcome.category, "Choose 'starttls'" in outcome.message) == (Category.MALFORMED, True)
    assert inbox.logins == []


@pytest.mark.usefixtures("trusted")
def test_nobody_there_is_no_fault_of_the_password() -> None:
    outcome = check(fields(**sending(servers.free_port())))
    assert (outcome.category, "not judged" in outcome.message) == (Category.NETWORK, True)


@pytest.mark.usefixtures("trusted")
def test_a_host_that_does_not_exist_is_no_fault_of_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object, **__: object) -> None:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    assert check(fields(smtp_host="smtp.example.com")).category is Category.NETWORK


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_a_server_that_says_nothing_is_cut_off(security: str) -> None:
    with saying(b"") as (port, _):
        assert check(fields(**sending(port, security)), timeout=0.5).category is Category.TIMEOUT


@pytest.mark.usefixtures("trusted")
def test_a_server_that_never_comes_to_an_end_is_cut_off() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        with contextlib.suppress(OSError):
            line, _ = listener.accept()
            with line:
                while True:
                    line.sendall(b"220-wait\r\n")
                    time.sleep(0.05)

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        outcome = check(fields(**sending(listener.getsockname()[1])), timeout=0.6)
    finally:
        listener.close()
        thread.join(10)
    assert outcome.category is Category.TIMEOUT


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("reply", "category"),
    [
        (b"534 5.7.9 Application-specific password required\r\n", Category.INVALID),
        (b"535 5.7.139 Authentication unsuccessful\r\n", Category.INVALID),
        (b"454 4.7.0 Temporary authentication failure\r\n", Category.UNAVAILABLE),
        (b"421 4.7.0 Too many connections\r\n", Category.RATE_LIMITED),
    ],
)
def test_what_a_server_says_to_a_login_is_told_apart(reply: bytes, category: Category, authority: Authority) -> None:
    async def auth(self: SMTP, arg: str) -> None:
        await self.push(reply.decode().strip())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SMTP, "smtp_AUTH", auth)
        with smtp_server(servers.free_port(), authority.certificate("localhost"), starttls=False) as inbox:
            outcome = check(fields(**sending(inbox.port, "tls")))
    assert (outcome.category, outcome.detail["code"]) == (category, " ".join(reply.decode().split()[:2]))


# --- T49: stripped TLS, certificates of somebody else's ------------------------------------------


@pytest.mark.usefixtures("trusted")
def test_a_server_without_starttls_gets_no_login() -> None:
    with smtp_server(servers.free_port(), None) as inbox:
        outcome = check(fields(**sending(inbox.port)))
    assert (outcome.category, inbox.logins) == (Category.MALFORMED, [])
    assert "The password was not sent." in outcome.message


@pytest.mark.usefixtures("trusted")
def test_a_server_that_takes_starttls_back_gets_no_login() -> None:
    offers = b"250-here\r\n250-AUTH PLAIN LOGIN\r\n250 STARTTLS\r\n"
    with saying(b"220 here\r\n", offers, b"454 4.7.0 not now\r\n", b"250 go on\r\n") as (port, heard):
        outcome = check(fields(**sending(port)))
    assert outcome.category is Category.MALFORMED
    assert not any(b"AUTH" in one for one in heard)


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    "answers",
    [
        (b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] here\r\n", b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n%s OK done\r\n"),
        (b"* PREAUTH welcome back\r\n", b"* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN\r\n%s OK done\r\n"),
    ],
)
def test_an_imap_server_that_strips_tls_gets_no_login(answers: tuple[bytes, bytes]) -> None:
    heard: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        line, _ = listener.accept()
        with line:
            line.sendall(answers[0])
            while piece := line.recv(65_536):
                heard.append(piece)
                line.sendall(answers[1].replace(b"%s", piece.split()[0]))

    thread = threading.Thread(target=serve)
    thread.start()
    outcome = check(fields(**reading(listener.getsockname()[1], "starttls")))
    thread.join(10)
    listener.close()
    assert outcome.category is Category.MALFORMED
    assert [one.split()[1] for one in heard] == [b"CAPABILITY"]


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("starttls", [True, False])
def test_a_certificate_of_another_name_gets_no_login(starttls: bool, authority: Authority) -> None:
    with smtp_server(servers.free_port(), authority.certificate("other.test"), starttls=starttls) as inbox:
        outcome = check(fields(**sending(inbox.port, "starttls" if starttls else "tls")))
    assert (outcome.category, inbox.logins) == (Category.NETWORK, [])
    assert "cannot be trusted" in outcome.message


@pytest.mark.parametrize("protocol", ["smtp", "imap"])
def test_a_certificate_that_nobody_signed_gets_no_login(
    protocol: str, inbox: Inbox, dovecot: servers.Dovecot, settings: pytest.FixtureRequest
) -> None:
    settings.DIGITALME_PRIVATE_HOSTS = frozenset({"localhost"})  # type: ignore[attr-defined]
    outbound.tls.cache_clear()
    given = sending(inbox.port) if protocol == "smtp" else reading(dovecot.tls_port)
    outcome = check(fields(**given))
    assert (outcome.category, inbox.logins) == (Category.NETWORK, [])
    assert "cannot be trusted" in outcome.message


# --- Only what may be reached --------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["smtp", "imap"])
@pytest.mark.parametrize("host", INSIDE)
def test_no_form_of_address_that_leads_inside_is_taken(
    host: str, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket, "create_connection", never)
    assert check(fields(**{f"{protocol}_host": host})).category in (Category.MALFORMED, Category.NETWORK)


@pytest.mark.parametrize("port", ["25", "22", "143", "6379"])
def test_a_public_host_is_reached_on_the_ports_of_mail_alone(port: str) -> None:
    for protocol in ("smtp", "imap"):
        given = fields(**{f"{protocol}_host": "mail.example.com", f"{protocol}_port": port})
        with pytest.raises(InvalidKeyFormat):
            adapters.check_fields(registry.get(EMAIL), secrets(given))


@pytest.mark.parametrize("inside", ["127.0.0.1", "10.0.0.8", "169.254.169.254", "::1"])
def test_a_name_that_leads_inside_is_not_followed(inside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        public = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", port))
        return [public, (socket.AF_INET, socket.SOCK_STREAM, 6, "", (inside, port))]

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", never)
    outcome = check(fields(smtp_host="mail.example.com"))
    assert (outcome.category, asked) == (Category.NETWORK, ["mail.example.com"])


def test_it_connects_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second lookup could answer otherwise."""
    tried: list[object] = []

    def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", port))]

    def connect(address: object, timeout: float) -> None:
        tried.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    check(fields(imap_host="Mail.Example.com"))
    assert tried == [("93.184.216.34", 993)]


def test_what_is_left_out_follows_from_what_is_usual() -> None:
    provider = registry.get(EMAIL)

    def where(**given: str) -> tuple[str, ...]:
        return adapters.destination(provider, secrets(fields(**given)))

    assert where(smtp_host="A.Example.com", imap_host="b.example.com") == (
        "smtp://a.example.com:465",
        "imap://b.example.com:993",
    )
    assert where(smtp_host="a.example.com", smtp_security="starttls") == ("smtp://a.example.com:587",)


def test_a_mailbox_without_a_server_is_none() -> None:
    with pytest.raises(InvalidKeyFormat) as refused:
        adapters.check_fields(registry.get(EMAIL), secrets(fields()))
    assert refused.value.data["field"] == "smtp_host"
