"""E-mail through the gateway: against an SMTP server with STARTTLS, and Dovecot."""

import base64
import imaplib
import ssl
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from typing import Any

import pytest
import requests
from django.core.management.base import CommandError
from pytest_django import DjangoDbBlocker

from tests import mailboxes, servers
from tests.fakes import FakeProvider
from tests.gateway.conftest import Person, WebProcess, command, web_process
from tests.mailboxes import Authority, Inbox, reading, sending, smtp_server

# The web process is another one: what it is to see must be committed.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("trusted")]
Call = Callable[..., requests.Response]


@pytest.fixture(scope="module")
def web(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, provider: FakeProvider, authority: Authority
) -> Iterator[WebProcess]:
    """A web process to which mail servers on this host are the operator's."""
    with django_db_blocker.unblock():
        running = web_process(provider.url, DIGITALME_PRIVATE_HOSTS="localhost", SSL_CERT_FILE=str(authority.file))
        process = running.__enter__()
    try:
        yield process
    finally:
        running.__exit__(None, None, None)


def connect(person: Person, *, label: str = "", **more: str) -> None:
    """Keep a mailbox of somebody's."""
    given = mailboxes.fields(**more)
    arguments = [word for name in given for word in ("--field", name)]
    named = ["--label", label] if label else []
    command("set_key", "email", "--user", person.user.email, *arguments, *named, stdin="\n".join(given.values()))


@pytest.fixture
def call(web: WebProcess, alice: Person) -> Call:
    def do(method: str, path: str, **more: Any) -> requests.Response:
        return requests.request(method, web.gateway("email", path), headers=alice.headers, timeout=30, **more)

    return do


def test_a_message_is_sent(call: Call, alice: Person, inbox: Inbox) -> None:
    connect(alice, **sending(inbox.port))
    asked = {
        "to": ["Bob Bäcker <bob@example.org>", "carol@bücher.example"],
        "cc": "dan@example.org",
        "bcc": ["eve@example.org"],
        "from_name": "Älice",
        "subject": "Zwölf Boxkämpfer",
        "text": "Grüße\n.\nEnde",
        "html": "<p>Grüße</p>",
        "in_reply_to": "<first@example.org>",
        "attachments": [
            {
                "filename": "übersicht.pdf",
                "content": base64.b64encode(b"%PDF").decode(),
                "content_type": "application/pdf",
            }
        ],
    }
    answer = call("POST", "/messages", json=asked)
    told = answer.json()
    people = ["bob@example.org", "carol@xn--bcher-kva.example", "dan@example.org", "eve@example.org"]
    assert (answer.status_code, told["accepted"], told["refused"]) == (202, people, {})
    (envelope,), (message,) = inbox.envelopes, inbox.messages
    assert (envelope.mail_from, envelope.rcpt_tos) == (mailboxes.ADDRESS, people)
    assert message["From"].addresses[0].display_name == "Älice"
    assert (message["Subject"], message["Message-ID"]) == ("Zwölf Boxkämpfer", told["message_id"])
    assert (message["In-Reply-To"], message["References"]) == ("<first@example.org>", "<first@example.org>")
    assert message["To"].addresses[0].display_name == "Bob Bäcker"
    assert "eve@" not in str(envelope.content), "a blind copy stands on the envelope alone"
    body, attached = message.get_body(("plain",)), list(message.iter_attachments())
    assert body is not None
    assert body.get_content().splitlines() == ["Grüße", ".", "Ende"]
    assert [(one.get_filename(), one.get_content()) for one in attached] == [("übersicht.pdf", b"%PDF")]
    record = alice.record("ok")
    assert (record.operation, record.key_source, record.cost) == ("send", "user", 0)


def test_addresses_beyond_ascii_go_to_a_server_that_takes_them(
    call: Call, alice: Person, inbox: Inbox, authority: Authority
) -> None:
    address = "älice@mail.test"
    inbox.anybody = True
    connect(alice, address=address, **sending(inbox.port))
    asked = {"to": "Bób <bób@bücher.example>", "cc": "dan@example.org", "subject": "Grüße", "text": "ö"}
    sent = call("POST", "/messages", json=asked)
    assert (sent.status_code, sent.json()["accepted"]) == (202, ["bób@xn--bcher-kva.example", "dan@example.org"])
    (envelope,) = inbox.envelopes
    assert (envelope.mail_from, envelope.smtp_utf8) == (address, True)
    assert isinstance(envelope.content, bytes)
    assert f"From: {address}".encode() in envelope.content
    with smtp_server(servers.free_port(), authority.certificate("localhost"), enable_SMTPUTF8=False) as old:
        old.anybody = True
        connect(alice, **sending(old.port))
        refused = call("POST", "/messages", json=asked)
        assert (refused.status_code, refused.json()["title"], old.envelopes) == (422, "no_utf8", [])
        assert "SMTPUTF8" in refused.json()["detail"]
        assert call("POST", "/messages", json={"to": "dan@example.org", "text": "ö"}).status_code == 202


def test_recipients_that_are_refused_are_named(call: Call, alice: Person, inbox: Inbox) -> None:
    connect(alice, **sending(inbox.port))
    inbox.refuses = frozenset({"gone@example.org"})
    some = call("POST", "/messages", json={"to": ["a@example.org", "gone@example.org"], "text": "Hello"})
    assert (some.status_code, some.json()["refused"]) == (202, {"gone@example.org": "550 5.1.1"})
    none = call("POST", "/messages", json={"to": "gone@example.org", "text": "Hello"})
    assert (none.status_code, none.json()["title"], len(inbox.envelopes)) == (422, "recipients", 1)
    assert none.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("answer", "status", "title"),
    [
        ("552 5.3.4 Too big", 413, "too_large"),
        ("550 5.4.5 Daily limit", 429, "quota"),
        ("554 5.7.1 Spam", 422, "content"),
        ("451 4.3.0 Try again", 503, "unavailable"),
        ("421 4.7.0 Slow down", 429, "busy"),
    ],
)
def test_what_the_server_says_to_a_message_is_told_apart(
    call: Call, alice: Person, inbox: Inbox, answer: str, status: int, title: str
) -> None:
    connect(alice, **sending(inbox.port))
    inbox.answer = answer
    refusal = call("POST", "/messages", json={"to": "a@example.org", "text": "Hello"})
    assert (refusal.status_code, refusal.json()["title"]) == (status, title)
    assert refusal.json()["server_code"] == " ".join(answer.split()[:2])
    assert alice.record("failed").http_status == status


@pytest.mark.parametrize(
    "more",
    [
        {"subject": "Hello\r\nBcc: eve@example.org"},
        {"to": "a@example.org\r\nDATA"},
        {"to": ["a@example.org>\r\nRCPT TO:<eve@example.org"]},
        {"cc": "A\nBcc: eve@example.org <a@example.org>"},
        {"from_name": "Alice\r\nX-Evil: 1"},
        {"reply_to": "a@example.org\nX-Evil: 1"},
        {"in_reply_to": "<a@b>\r\nX-Evil: 1"},
        {"attachments": [{"filename": 'a"\r\nX-Evil: 1', "content": ""}]},
        {"attachments": [{"filename": "a", "content": "", "content_type": "text/plain\r\nX-Evil: 1"}]},
        {"headers": {"X-Evil": "1"}},
        {"to": "a@example.org, eve@example.org"},
        {"to": []},
        {"to": "nobody"},
        {"attachments": [{"filename": "a", "content": "no base64!"}]},
    ],
)
def test_nothing_is_smuggled_into_a_message(call: Call, alice: Person, inbox: Inbox, more: dict[str, Any]) -> None:
    connect(alice, **sending(inbox.port))
    answer = call("POST", "/messages", json={"to": "a@example.org", "subject": "Hello", "text": "Hello", **more})
    assert (answer.status_code, answer.json()["title"]) == (400, "InvalidRequest")
    assert (inbox.logins, inbox.envelopes) == ([], [])
    assert alice.record("refused").operation == "send"


def note(subject: str, text: str = "Hello") -> bytes:
    message = EmailMessage()
    message["From"], message["To"] = "Bob <bob@example.org>", mailboxes.ADDRESS
    message["Subject"], message["Date"] = subject, "Fri, 20 Nov 2026 10:00:00 +0100"
    message["Message-ID"] = f"<{abs(hash(subject))}@example.org>"
    message.set_content(text)
    return message.as_bytes()


def test_a_folder_is_read_page_by_page(
    call: Call, alice: Person, dovecot: servers.Dovecot, authority: Authority
) -> None:
    mailboxes.put(dovecot.tls_port, authority.file, "Pages", *(note(f"Note {number}") for number in range(5)))
    connect(alice, **reading(dovecot.tls_port))
    first = call("GET", "/messages", params={"folder": "Pages", "limit": 2}).json()
    second = call("GET", "/messages", params={"folder": "Pages", "limit": 2, "cursor": first["next"]}).json()
    third = call("GET", "/messages", params={"folder": "Pages", "limit": 2, "cursor": second["next"]}).json()
    shown = [[one["subject"] for one in page["messages"]] for page in (first, second, third)]
    assert shown == [["Note 4", "Note 3"], ["Note 2", "Note 1"], ["Note 0"]]
    assert (first["total"], third["next"]) == (5, None)
    assert first["messages"][0]["from"] == [{"name": "Bob", "address": "bob@example.org"}]
    assert first["messages"][0]["date"] == "2026-11-20T10:00:00+01:00"
    assert not first["messages"][0]["seen"]


def test_messages_are_searched(call: Call, alice: Person, dovecot: servers.Dovecot, authority: Authority) -> None:
    messages = [note("Bill for May"), note("Bill for June", "paid"), note("Grüße aus Köln"), note('Say "no" \\ yes')]
    mailboxes.put(dovecot.tls_port, authority.file, "Search", *messages)
    connect(alice, **reading(dovecot.starttls_port, "starttls"))

    def found(**asked: str) -> list[str]:
        answer = call("GET", "/messages", params={"folder": "Search", **asked})
        assert answer.status_code == 200, answer.text
        return [one["subject"] for one in answer.json()["messages"]]

    assert found(subject="bill") == ["Bill for June", "Bill for May"]
    assert found(subject="bill", text="paid") == ["Bill for June"]
    assert found(subject="köln") == ["Grüße aus Köln"]
    assert found(subject='"no" \\') == ['Say "no" \\ yes']
    assert found(subject="bill", seen="true") == []
    assert found(subject="bill", limit="1") == ["Bill for June"]
    assert found(**{"from": "nobody@example.org"}) == []
    assert found(since="2026-01-01", before_day="2000-01-01") == []


@pytest.mark.parametrize(
    "asked",
    [
        {"subject": "x\r\nA1 DELETE INBOX"},
        {"folder": "INBOX\r\nA1 LOGOUT"},
        {"since": "1-Jan-2026"},
        {"seen": "perhaps"},
        {"limit": "0"},
        {"limit": "1000"},
        {"cursor": "x"},
        {"colour": "red"},
    ],
)
def test_a_search_that_cannot_be_is_refused(
    call: Call, alice: Person, dovecot: servers.Dovecot, asked: dict[str, str]
) -> None:
    connect(alice, **reading(dovecot.tls_port))
    answer = call("GET", "/messages", params=asked)
    assert (answer.status_code, answer.json()["field"]) == (400, next(iter(asked)))


def test_a_message_is_read_and_stays_unread(
    call: Call, alice: Person, dovecot: servers.Dovecot, authority: Authority
) -> None:
    message = EmailMessage()
    message["From"], message["Subject"] = "Bob <bob@example.org>", "Grüße"
    message.set_content("Grüße\n")
    message.add_alternative("<p>Grüße</p>", subtype="html")
    message.add_attachment(b"\x00\xffpicture", maintype="image", subtype="png", filename="../böse.png")
    message.add_attachment("<script>", subtype="html", filename="page.html")
    mailboxes.put(dovecot.tls_port, authority.file, "Read", message.as_bytes())
    connect(alice, **reading(dovecot.tls_port))
    folder = {"folder": "Read"}
    (listed,) = call("GET", "/messages", params=folder).json()["messages"]
    one = call("GET", f"/messages/{listed['id']}", params=folder).json()
    assert (one["subject"], one["text"].strip(), one["html"].strip(), one["seen"]) == (
        "Grüße",
        "Grüße",
        "<p>Grüße</p>",
        False,
    )
    assert [(it["index"], it["filename"], it["content_type"]) for it in one["attachments"]] == [
        (0, "böse.png", "image/png"),
        (1, "page.html", "text/html"),
    ]
    file = call("GET", f"/messages/{listed['id']}/attachments/0", params=folder)
    assert (file.content, file.headers["content-type"]) == (b"\x00\xffpicture", "image/png")
    assert file.headers["content-disposition"] == "attachment; filename*=UTF-8''b%C3%B6se.png"
    page = call("GET", f"/messages/{listed['id']}/attachments/1", params=folder)
    assert page.headers["content-type"] == "text/plain; charset=utf-8", "nothing runs as a page of this server's"
    assert call("GET", f"/messages/{listed['id']}/attachments/2", params=folder).status_code == 404
    assert call("GET", "/messages/4000000000", params=folder).json()["title"] == "no_message"
    assert call("GET", "/messages/x", params=folder).status_code == 400
    assert call("GET", "/messages", params=folder).json()["messages"][0]["seen"] is False


def test_folders_are_listed_in_every_script(
    call: Call, alice: Person, dovecot: servers.Dovecot, authority: Authority
) -> None:
    context = ssl.create_default_context(cafile=str(authority.file))
    with imaplib.IMAP4_SSL("localhost", dovecot.tls_port, ssl_context=context) as server:
        server.authenticate("PLAIN", lambda _: f"\0{mailboxes.ADDRESS}\0{mailboxes.PASSWORD}".encode())
        server.create("Entw&APw-rfe")
    connect(alice, **reading(dovecot.tls_port))
    named = [one["name"] for one in call("GET", "/folders").json()["folders"]]
    assert named[0] == "INBOX"
    assert "Entwürfe" in named
    assert call("GET", "/messages", params={"folder": "Entwürfe"}).json()["total"] == 0
    assert call("GET", "/messages", params={"folder": "Nowhere"}).json()["title"] == "folder"


def test_a_password_that_is_not_good_any_more_is_told(call: Call, alice: Person, dovecot: servers.Dovecot) -> None:
    connect(alice, **reading(dovecot.tls_port), password="changed since")
    answer = call("GET", "/messages")
    assert (answer.status_code, answer.json()["title"]) == (401, "login")
    assert "changed since" not in answer.text
    assert alice.record("failed").http_status == 401


def test_a_server_that_is_away_costs_nothing(call: Call, alice: Person, unused_port: int) -> None:
    connect(alice, **sending(unused_port))
    answer = call("POST", "/messages", json={"to": "a@example.org", "text": "Hello"})
    assert (answer.status_code, answer.json()["title"], answer.json()["reason"]) == (
        502,
        "ProviderUnavailable",
        "connect",
    )


def test_each_mailbox_has_its_path(call: Call, alice: Person, inbox: Inbox, unused_port: int) -> None:
    connect(alice, **sending(unused_port))
    connect(alice, label="office", **sending(inbox.port))
    body = {"to": "a@example.org", "text": "Hello"}
    assert [call("POST", path, json=body).status_code for path in ("/office/messages", "/messages")] == [202, 502]


def test_what_a_mailbox_cannot_is_said(call: Call, alice: Person, inbox: Inbox) -> None:
    connect(alice, **sending(inbox.port))
    answer = call("GET", "/messages")
    assert (answer.status_code, "no IMAP host" in answer.json()["detail"]) == (400, True)


def test_there_is_no_mailbox_of_the_houses(call: Call, inbox: Inbox) -> None:
    without = call("GET", "/messages")
    assert (without.status_code, without.json()["title"]) == (404, "KeyNotFound")
    given = mailboxes.fields(**sending(inbox.port))
    arguments = [word for name in given for word in ("--field", name)]
    with pytest.raises(CommandError):
        command("set_key", "email", "--system", *arguments, stdin="\n".join(given.values()))
