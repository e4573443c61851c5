"""The secret in use is in nothing that comes back, however it is written and wherever it is cut."""

import base64
import gzip
import itertools
import json
import zlib
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitalme.errors import ProviderUnavailable
from providers import echoes, registry
from providers.echoes import MARK, Guard, Headers
from providers.secrets import Secret

KEY = 'sk-proj-canary/0123+456 789"é'
PLAIN_KEY = "sk-ant-api03-" + "aB3_-" * 18
# The letters of the mark are left out: a secret that is part of it is told by nobody.
SECRETS = st.text('abAB01+/%&"\\ -.é', min_size=6, max_size=40)
AROUND = st.binary(max_size=30)
SPLITS = st.lists(st.integers(0, 300), max_size=8)


def guard(*secrets: str) -> Guard:
    return Guard({str(number): Secret(secret) for number, secret in enumerate(secrets)})


def written(secret: str) -> list[bytes]:
    raw = secret.encode()
    return [
        raw,
        quote(secret, safe="").encode(),
        quote(secret, safe="").lower().encode() if secret.islower() else quote(secret).encode(),
        quote_plus(secret).encode(),
        base64.b64encode(raw),
        base64.urlsafe_b64encode(raw),
        base64.b64encode(b"user:" + raw),
        json.dumps(secret)[1:-1].encode(),
        json.dumps(secret, ensure_ascii=False)[1:-1].encode(),
        json.dumps(secret)[1:-1].replace("/", "\\/").encode(),
    ]


def streamed(watch: Guard, data: bytes, cuts: list[int]) -> bytes:
    """Feed the data in pieces, and hold the guard to how much it may hold back."""
    passed = b""
    for piece in cut_at(data, cuts):
        passed += watch.feed(piece)
        assert len(watch._held) < max(watch._longest, 1)
    return passed + watch.end()


def cut_at(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


@given(SECRETS, AROUND, AROUND, SPLITS, st.integers(0, 9))
def test_no_form_of_a_secret_passes_wherever_it_is_cut(
    secret: str, before: bytes, after: bytes, cuts: list[int], form: int
) -> None:
    watch = guard(secret)
    passed = streamed(watch, before + written(secret)[form] + after, cuts)
    assert not [one for one in watch._forms if one in passed]
    assert secret.encode() not in passed


@given(SECRETS, st.integers(0, 9))
def test_a_secret_alone_is_cut_between_any_two_bytes(secret: str, form: int) -> None:
    text = b"(" + written(secret)[form] + b")"
    whole = guard(secret).clean(text)
    for cut in range(len(text)):
        watch = guard(secret)
        passed = watch.feed(text[:cut]) + watch.feed(text[cut:]) + watch.end()
        assert secret.encode() not in passed
        # Of a secret that ends in what gets escaped, the end of the escape may be left over: nothing of itself.
        assert len(passed) <= max(len(whole), len(text)) + len("25")


@given(SECRETS, st.binary(max_size=300), SPLITS)
def test_what_has_no_secret_passes_byte_for_byte(secret: str, data: bytes, cuts: list[int]) -> None:
    watch = guard(secret)
    if not any(one in data for one in watch._forms):
        assert streamed(watch, data, cuts) == data


@given(SPLITS, AROUND, AROUND)
def test_what_stands_around_it_stays(cuts: list[int], before: bytes, after: bytes) -> None:
    data = before + b"\n" + PLAIN_KEY.encode() + b"\n" + after
    assert streamed(guard(PLAIN_KEY), data, cuts) == before + b"\n" + MARK + b"\n" + after


def test_one_byte_at_a_time() -> None:
    watch = guard(PLAIN_KEY)
    text = f"data: {PLAIN_KEY[:40]} {PLAIN_KEY} {PLAIN_KEY[:-1]}\n\n".encode()
    passed = b"".join(watch.feed(text[place : place + 1]) for place in range(len(text))) + watch.end()
    assert passed == text.replace(PLAIN_KEY.encode(), MARK)


def test_a_piece_without_any_beginning_goes_on_at_once() -> None:
    watch = guard(PLAIN_KEY)
    event = b'data: {"choices":[{"delta":{"content":"as"}}]}\n\n'
    assert watch.feed(event) is event
    assert watch.end() == b""


def test_of_a_beginning_only_itself_is_held_back() -> None:
    watch = guard(PLAIN_KEY)
    assert watch.feed(b"key: sk-ant-") == b"key: "
    assert watch.feed(b"nothing\n") == b"sk-ant-nothing\n"


def test_all_secrets_of_a_credential_are_watched() -> None:
    watch = guard("first-secret", "second-secret")
    assert watch.clean(b"first-secret second-secret") == MARK + b" " + MARK


def test_a_very_short_one_is_not_looked_for() -> None:
    assert guard("no").clean(b"no, none") == b"no, none"


def test_headers_lose_it_in_value_and_name() -> None:
    headers: Headers = [
        (b"x-key", b"Bearer " + PLAIN_KEY.encode()),
        (b"x-" + PLAIN_KEY.lower().encode(), b"1"),
        (b"x-other", b"2"),
    ]
    assert guard(PLAIN_KEY).headers(headers) == [(b"x-key", b"Bearer " + MARK), (b"x-other", b"2")]


def test_headers_without_it_stay_themselves() -> None:
    headers: Headers = [(b"x-request-id", b"req_1")]
    assert guard(PLAIN_KEY).headers(headers) is headers


def test_texts_in_facts_lose_it() -> None:
    told = guard(PLAIN_KEY).told({"code": PLAIN_KEY, "facts": [f"is {PLAIN_KEY}"], "status": 401})
    assert told == {"code": MARK.decode(), "facts": [f"is {MARK.decode()}"], "status": 401}


def test_fields_that_are_no_secrets_may_come_back() -> None:
    openai = registry.get("openai").manifest
    watch = echoes.guard_of(openai, {"api_key": Secret(PLAIN_KEY)})
    assert watch.clean(PLAIN_KEY.encode()) == MARK
    assert repr(watch) == "<guard>"


@given(st.binary(max_size=200_000), SPLITS, st.sampled_from([b"gzip", b"x-gzip", b"deflate", b""]))
def test_compressed_answers_are_read_piece_by_piece(data: bytes, cuts: list[int], coding: bytes) -> None:
    packed = {b"": data, b"deflate": zlib.compress(data)}.get(coding) or gzip.compress(data)
    if not coding:
        packed = data
    reader = echoes.reader_for(coding)
    pieces = [piece for part in cut_at(packed, cuts) for piece in reader.pieces(part)]
    reader.end()
    assert b"".join(pieces) == data
    assert not coding or all(len(piece) <= echoes.PIECE for piece in pieces)


def test_a_file_of_several_members_is_read_whole() -> None:
    reader = echoes.reader_for(b"gzip")
    assert b"".join(reader.pieces(gzip.compress(b"one ") + gzip.compress(b"two"))) == b"one two"
    reader.end()


def test_a_bomb_comes_in_small_pieces() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    first = next(iter(echoes.reader_for(b"gzip").pieces(bomb)))
    assert len(first) <= echoes.PIECE


@pytest.mark.parametrize("coding", [b"br", b"zstd", b"gzip,gzip", b"compress"])
def test_a_compression_that_cannot_be_looked_into_is_refused(coding: bytes) -> None:
    with pytest.raises(ProviderUnavailable, match="compressed"):
        echoes.reader_for(coding)


@pytest.mark.parametrize("packed", [b"not gzip at all", gzip.compress(b"x" * 1000)[:-9]])
def test_what_only_says_that_it_is_compressed_is_refused(packed: bytes) -> None:
    with pytest.raises(ProviderUnavailable, match="cannot be read"):
        inflated(packed)


def inflated(packed: bytes) -> bytes:
    reader = echoes.reader_for(b"gzip")
    read = b"".join(reader.pieces(packed))
    reader.end()
    return read


def test_the_coding_is_told_from_the_headers() -> None:
    assert echoes.coding_of([(b"Content-Encoding", b" GZIP ")]) == b"gzip"
    assert echoes.coding_of([(b"content-encoding", b"identity")]) == b""
    assert echoes.coding_of([(b"content-encoding", b"gzip"), (b"content-encoding", b"br")]) == b"gzip,br"
    assert echoes.without_coding([(b"content-encoding", b"gzip"), (b"etag", b"1"), (b"x", b"2")]) == [(b"x", b"2")]
