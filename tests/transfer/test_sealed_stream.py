"""The encrypted form: whatever is written comes back, whatever was altered does not."""

import io
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitalme.transfer import sealed_stream
from digitalme.transfer.sealed_stream import HEADER_BYTES, TAG_BYTES, Opener, Sealer, Unreadable

PASSPHRASE = b"correct horse battery staple"
PIECE = 64
SEALED_PIECE = PIECE + TAG_BYTES


@pytest.fixture(autouse=True, scope="module")
def _small_and_cheap() -> Iterator[None]:
    """Small pieces, so that there are many; an easy derivation, since it is not what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealed_stream, "PIECE_BYTES", PIECE)
        patch.setattr(sealed_stream, "COST", 2)
        yield


def sealed(data: bytes, steps: int = 1) -> bytes:
    out = io.BytesIO()
    sealer = Sealer(out, PASSPHRASE)
    for start in range(0, len(data), max(1, len(data) // steps)):
        sealer.write(data[start : start + max(1, len(data) // steps)])
    sealer.finish()
    return out.getvalue()


def opened(blob: bytes, passphrase: bytes = PASSPHRASE) -> bytes:
    return io.BufferedReader(Opener(cast(BinaryIO, io.BytesIO(blob)), passphrase)).read()


@given(data=st.binary(max_size=5 * PIECE), steps=st.integers(1, 9))
def test_what_was_sealed_is_opened(data: bytes, steps: int) -> None:
    assert opened(sealed(data, steps)) == data


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
def test_every_edge_of_a_piece_is_opened(size: int) -> None:
    assert opened(sealed(b"x" * size)) == b"x" * size


def test_two_seals_of_the_same_differ() -> None:
    assert sealed(b"x" * 100) != sealed(b"x" * 100)


@given(st.data())
def test_a_flipped_bit_is_found(data: st.DataObject) -> None:
    blob = bytearray(sealed(bytes(3 * PIECE)))
    place = data.draw(st.integers(0, len(blob) * 8 - 1))
    blob[place // 8] ^= 1 << place % 8
    with pytest.raises(Unreadable):
        opened(bytes(blob))


@given(st.data())
def test_a_stream_that_was_cut_off_is_found(data: st.DataObject) -> None:
    blob = sealed(bytes(3 * PIECE + 5))
    with pytest.raises(Unreadable):
        opened(blob[: data.draw(st.integers(0, len(blob) - 1))])


def swapped(blob: bytes) -> bytes:
    first, second = (HEADER_BYTES + at * SEALED_PIECE for at in (0, 1))
    return blob[:first] + blob[second : second + SEALED_PIECE] + blob[first:second] + blob[second + SEALED_PIECE :]


def left_out(blob: bytes) -> bytes:
    return blob[:HEADER_BYTES] + blob[HEADER_BYTES + SEALED_PIECE :]


def repeated(blob: bytes) -> bytes:
    return blob[: HEADER_BYTES + SEALED_PIECE] + blob[HEADER_BYTES:]


def continued(blob: bytes) -> bytes:
    return blob + blob[-SEALED_PIECE:]


def mixed(blob: bytes) -> bytes:
    other = sealed(bytes(3 * PIECE))
    return blob[: HEADER_BYTES + SEALED_PIECE] + other[HEADER_BYTES + SEALED_PIECE :]


@pytest.mark.parametrize("change", [swapped, left_out, repeated, continued, mixed])
def test_pieces_cannot_be_moved(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(Unreadable):
        opened(change(sealed(bytes(3 * PIECE))))


def test_another_passphrase_opens_nothing() -> None:
    with pytest.raises(Unreadable):
        opened(sealed(b"x"), b"another passphrase")
