"""Messages are written as meant and read whatever they are."""

import base64
from datetime import UTC, datetime
from email import message_from_bytes, message_from_string, policy
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from digitalme.errors import InvalidRequest
from providers import mail_messages
from providers.mail_messages import Composed

NOW = datetime(2026, 11, 25, 2, tzinfo=UTC)
HEADERS = {"from", "to", "cc", "reply-to", "subject", "date", "message-id", "in-reply-to", "references", "mime-version"}
CONTENT = {"content-type", "content-transfer-encoding"}


def compose(**asked: Any) -> Composed:
    whole = {"to": "bob@example.org", "text": "Hello", **asked}
    return mail_messages.compose(whole, sender="alice@example.com", message_id="<1@example.com>", now=NOW)


@given(
    asked=st.fixed_dictionaries(
        {},
        optional={
            "to": st.one_of(st.text(max_size=60), st.lists(st.text(max_size=60), max_size=3)),
            "cc": st.text(max_size=60).map(lambda text: f"{text} <carol@example.org>"),
            "from_name": st.text(max_size=60),
            "subject": st.text(max_size=200),
            "reply_to": st.text(max_size=60),
            "in_reply_to": st.text(max_size=30).map(lambda text: f"<{text}@b>"),
        },
    )
)
@example({"subject": "a\nBcc: eve@example.org"})
@example({"subject": "=?utf-8?q?a=0ABcc=3A_eve@example.org?="})
@example({"from_name": "=?utf-8?q?=0D=0ABcc=3A_eve?="})
@example({"to": "=?utf-8?q?x=0ABcc=3A?=@example.org"})
@example({"cc": '"a\\" <eve@example.org>, " <carol@example.org>'})
def test_whatever_is_asked_for_no_header_and_no_recipient_is_smuggled_in(asked: dict[str, Any]) -> None:
    try:
        made = compose(**asked)
    except InvalidRequest:
        return
    head, _, _ = made.content.partition(b"\r\n\r\n")
    names = {line.partition(b":")[0].lower().decode() for line in head.split(b"\r\n") if line[:1] not in b" \t"}
    assert names <= HEADERS | CONTENT
    assert b"\n" not in made.content.replace(b"\r\n", b"")
    assert made.content.isascii()
    assert len(made.recipients) <= sum(len(v) if isinstance(v, list) else 1 for v in (asked.get("to", ""), ""))


@pytest.mark.parametrize("where", ["subject", "from_name"])
def test_an_encoded_word_hides_no_line(where: str) -> None:
    with pytest.raises(InvalidRequest):
        compose(**{where: "=?utf-8?q?Hello=0D=0ABcc=3A_eve@example.org?="})
    with pytest.raises(InvalidRequest):
        compose(attachments=[{"filename": "=?utf-8?q?a=0D=0AX-Evil=3A_1?=", "content": ""}])


@given(text=st.text(max_size=60))
def test_no_text_ends_the_message_early(text: str) -> None:
    """A full stop on a line of its own, after whatever counts as a line end anywhere."""
    try:
        content = compose(text=f"a{text}\r.\n.\r\n.\r\n").content
    except InvalidRequest:
        return
    assert b"\n" not in content.replace(b"\r\n", b"")
    assert b"\r" not in content.replace(b"\r\n", b"")


@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=300), html=st.none() | st.text(max_size=5))
def test_what_was_written_is_what_is_read(text: str, html: str | None) -> None:
    found = mail_messages.read(compose(text=text, subject=" ".join(text.split())[:100]).content)
    assert found["text"].rstrip("\r\n") == text.rstrip("\r\n")
    assert found["from"] == [{"name": "", "address": "alice@example.com"}]
    assert found["date"] == "2026-11-25T02:00:00+00:00"


@pytest.mark.parametrize(
    ("person", "name"),
    [
        ("Bob <bob@example.org>", "Bob"),
        ('"Baker, Bob" <bob@example.org>', "Baker, Bob"),
        ("Baker, Bob <bob@example.org>", "Baker, Bob"),
        ("bob@example.org <bob@example.org>", "bob@example.org"),
        ("Bäcker Ärmel <bob@example.org>", "Bäcker Ärmel"),
        ("<bob@example.org>", ""),
    ],
)
def test_a_recipient_may_have_a_name(person: str, name: str) -> None:
    made = compose(to=[person])
    (shown,) = message_from_bytes(made.content, policy=policy.default)["To"].addresses
    assert (made.recipients, shown.display_name, shown.addr_spec) == (("bob@example.org",), name, "bob@example.org")


@pytest.mark.parametrize(
    ("person", "name"),
    [
        ("bób@bücher.example", ""),
        (r'"Bäcker \"B\"" <bób@bücher.example>', 'Bäcker "B"'),
        ("bo\u0301b@bücher.example", ""),
    ],
)
def test_an_address_may_have_letters_of_any_script(person: str, name: str) -> None:
    made = compose(to=[person, "उदाहरण@example.org"], text="Grüße")
    assert made.recipients == ("bób@xn--bcher-kva.example", "उदाहरण@example.org")
    read = message_from_string(made.content.decode(), policy=policy.SMTPUTF8)
    first, second = read["To"].addresses
    assert (first.display_name, first.addr_spec, second.username) == (name, made.recipients[0], "उदाहरण")
    assert made.content.partition(b"\r\n\r\n")[2].isascii()


def test_a_blind_copy_leaves_the_headers_in_ascii() -> None:
    assert compose(to="a@example.org", bcc="bób@example.org").content.isascii()


@pytest.mark.parametrize(
    "person",
    [
        "bob",
        "bob@",
        "@example.org",
        "bob@localhost",
        "bob@-bad.example",
        "bob@example.org, eve@example.org",
        "Bob <bob@example.org> <eve@example.org>",
        "bob@example.org@evil.example",
        "bob@[127.0.0.1]",
        "b ob@example.org",
        "@evil.example:bob@example.org",
        f"{'b' * 65}@example.org",
        "bob@example.org\x00",
        f"{'é' * 33}@example.org",
        "b\u00a0b@example.org",
        "b\u202eb@example.org",
        "b\U0001f600b@example.org",
        "b..b@example.org",
        "\ud800@example.org",
    ],
)
def test_what_is_no_address_is_refused(person: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        compose(to=person)
    assert refused.value.data["field"] == "to"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"text": None}, "text"),
        ({"text": 3}, "text"),
        ({"to": {"a": 1}}, "to"),
        ({"to": [f"b{number}@example.org" for number in range(101)]}, "to"),
        ({"subject": "x" * 999}, "subject"),
        ({"references": ["<a@b>", "b"]}, "references"),
        ({"references": 3}, "references"),
        ({"attachments": {"filename": "a"}}, "attachments"),
        ({"attachments": [{"filename": "../a", "content": ""}]}, "attachments"),
        ({"attachments": [{"filename": "a", "content": "", "content_type": "message/rfc822"}]}, "attachments"),
        ({"attachments": [{"filename": "a", "content": "", "path": "/etc/passwd"}]}, "attachments"),
        ({"attachments": [{"filename": "a", "content": ""}] * 51}, "attachments"),
        ({"sender": "eve@example.org"}, "sender"),
    ],
)
def test_what_cannot_be_sent_is_named(more: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        compose(**more)
    assert refused.value.data["field"] == field


def test_attachments_have_a_limit_together() -> None:
    half = base64.b64encode(bytes(13 * 1024 * 1024)).decode()
    with pytest.raises(InvalidRequest):
        compose(attachments=[{"filename": name, "content": half} for name in ("a", "b")])


def test_the_same_person_gets_one_copy() -> None:
    assert compose(to="bob@example.org", cc="Bob <bob@example.org>").recipients == ("bob@example.org",)


@given(raw=st.binary(max_size=400))
@example(b"Content-Type: text/plain; charset=nonsense\r\n\r\n\xff")
@example(
    b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: message/rfc822\r\n\r\n"
    b"Subject: y\r\n\r\nz\r\n--x--"
)
@example(b"Subject: =?nonsense?q?x?=\r\nDate: 32 Foo 99999 99:99 +9999\r\nFrom: <<<>>>, =?utf-8?b?/w==?=\r\n\r\n")
@example(b"Content-Disposition: attachment; filename*=nonsense''%ff\r\nContent-Type: \";\"\r\n\r\nx")
@example(b"Content-Transfer-Encoding: base64\r\n\r\n====")
@example(b"Subject: \xff\xfe\r\nTo: \xff@\xff\r\n\r\n")
def test_any_message_can_be_read(raw: bytes) -> None:
    found = mail_messages.read(raw)
    for one in found["attachments"]:
        attached = mail_messages.attachment(raw, one["index"])
        assert attached is not None
        assert (attached[0], attached[1], len(attached[2])) == (one["filename"], one["content_type"], one["size"])
    assert mail_messages.attachment(raw, len(found["attachments"])) is None


@pytest.mark.parametrize(
    ("given_name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\\\Users\\\\x.exe", "x.exe"),
        ("..", "attachment"),
        ("a\x01b.txt", "a b.txt"),
        ("", "attachment"),
    ],
)
def test_a_file_has_a_name_that_is_safe_to_save_under(given_name: str, shown: str) -> None:
    raw = f'Content-Type: image/png\r\nContent-Disposition: attachment; filename="{given_name}"\r\n\r\nx'
    assert mail_messages.read(raw.encode())["attachments"][0]["filename"] == shown
