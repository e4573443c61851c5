"""Searches and folder names as IMAP writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitalme.errors import InvalidRequest
from providers import mail_queries
from providers.mail_queries import decode_folder, encode_folder, query


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("INBOX", "INBOX"),
        ("Entwürfe", "Entw&APw-rfe"),
        ("R&D", "R&-D"),
        # The example of RFC 3501, 5.1.3.
        ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
    ],
)
def test_a_folder_is_written_in_its_own_alphabet(name: str, encoded: str) -> None:
    assert (encode_folder(name), decode_folder(encoded)) == (encoded, name)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_every_folder_is_read_as_it_was_written(name: str) -> None:
    written = encode_folder(name)
    assert decode_folder(written) == name
    assert written.isascii()


@pytest.mark.parametrize("name", ["&", "&!-", "&AP-", "&2AA-", "a&b"])
def test_what_is_no_such_name_stays_as_it_is(name: str) -> None:
    assert decode_folder(name) == name


@given(st.sampled_from(sorted(mail_queries.KNOWN)), st.text(max_size=250))
def test_no_word_ends_the_command(name: str, value: str) -> None:
    try:
        found = query({name: value})
    except InvalidRequest:
        return
    assert not any("\r" in one or "\n" in one or "\0" in one for one in found.criteria)
    for one in found.criteria:
        inner = one.partition(" ")[2].replace("\\\\", "").replace('\\"', "")
        assert inner.count('"') in (0, 2)


def test_one_word_beyond_ascii_goes_as_it_is_and_a_second_one_is_refused() -> None:
    found = query({"subject": "köln", "from": "bob", "seen": "false"})
    assert (found.criteria, found.literal) == (('FROM "bob"', "UNSEEN", "SUBJECT"), "köln".encode())
    with pytest.raises(InvalidRequest):
        query({"subject": "köln", "text": "münchen"})


def test_days_are_written_in_the_protocols_language() -> None:
    assert query({"since": "2026-05-03"}).criteria == ("SINCE 03-May-2026",)
