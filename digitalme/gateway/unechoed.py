"""Answers without the secret that their call went out with: streams as they come, bodies as a whole."""

import asyncio
from collections.abc import AsyncIterator

from digitalme.errors import ProviderUnavailable
from providers import echoes
from providers.adapter import Answer, Headers
from providers.echoes import Guard

STEP = 1024 * 1024  # of a whole body that is searched at once


def stream(answer: Answer, headers: Headers, guard: Guard | None) -> tuple[AsyncIterator[bytes], Headers]:
    """Return a stream's pieces without the secret, and its headers. A compression that was not asked for is undone:
    raises ProviderUnavailable for one that cannot be."""
    if guard is None:
        return answer.chunks(), headers
    coding = echoes.coding_of(answer.headers)
    pieces = _guarded(answer, echoes.reader_for(coding), guard)
    return pieces, echoes.without_coding(headers) if coding else headers


def passed(answer: Answer, guard: Guard | None) -> AsyncIterator[bytes]:
    """Return the pieces of an answer of which nothing else is looked at. A compressed one stays compressed.

    Raises ProviderUnavailable for a compression that cannot be looked into, and in the middle of a compressed
    answer that has the secret.
    """
    if guard is None:
        return answer.chunks()
    coding = echoes.coding_of(answer.headers)
    reader = echoes.reader_for(coding)
    return _looked_through(answer, reader, guard) if coding else _guarded(answer, reader, guard)


async def _looked_through(answer: Answer, reader: echoes.Reader, guard: Guard) -> AsyncIterator[bytes]:
    """Hold the compressed pieces back for as long as what they hold may be the beginning of the secret."""
    kept: list[bytes] = []
    hits = guard.hits
    async for chunk in answer.chunks():
        for piece in reader.pieces(chunk):
            guard.feed(piece)
        if guard.hits != hits:
            raise ProviderUnavailable("The provider's answer has the key in it, so it was broken off.")
        kept.append(chunk)
        if not guard.holds:
            yield b"".join(kept)
            kept.clear()
    reader.end()
    if kept:
        yield b"".join(kept)


async def _guarded(answer: Answer, reader: echoes.Reader, guard: Guard) -> AsyncIterator[bytes]:
    async for chunk in answer.chunks():
        for piece in reader.pieces(chunk):
            if ready := guard.feed(piece):
                yield ready
    reader.end()
    if rest := guard.end():
        yield rest


async def whole(
    answer: Answer, headers: Headers, body: bytes, guard: Guard, *, limit: int
) -> tuple[bytes, bytes, Headers]:
    """Return a body without the secret, what can be read of it, and its headers.

    A compressed one in which it does not stand goes back as it came. Raises ProviderUnavailable for one that cannot
    be read, or has more than `limit` bytes once it is.
    """
    coding = echoes.coding_of(answer.headers)
    if not coding and len(body) <= STEP:
        body = guard.clean(body)
        return body, body, headers
    reader, pieces, size, hits = echoes.reader_for(coding), [], 0, guard.hits
    for start in range(0, len(body), STEP):
        for piece in reader.pieces(body[start : start + STEP]):
            pieces.append(guard.feed(piece))
            size += len(piece)
            if size > limit:
                raise ProviderUnavailable("The provider's answer is larger than this gateway passes on.")
        await asyncio.sleep(0)  # so that a large answer does not keep all other calls waiting
    reader.end()
    plain = b"".join([*pieces, guard.end()])
    if coding and guard.hits == hits:
        return body, plain, headers
    return plain, plain, echoes.without_coding(headers) if coding else headers
