"""Files are sent while they come into being, whichever kind of server asks."""

import asyncio
from collections.abc import Iterator

import pytest
from django.test import AsyncRequestFactory, RequestFactory

from digitalme import downloads

pytestmark = pytest.mark.once


def counted(made: list[int]) -> Iterator[str]:
    for number in range(3):
        made.append(number)
        yield f"{number} ü\n"


def test_an_asynchronous_server_gets_a_piece_when_it_asks_for_one() -> None:
    made: list[int] = []
    request = AsyncRequestFactory().get("/")
    answer = downloads.answer(request, counted(made), media_type="text/plain", name='a "file" ü.txt')

    async def read() -> bytes:
        pieces = aiter(answer)
        first = await anext(pieces)
        assert made == [0]
        return first + b"".join([piece async for piece in pieces])

    assert asyncio.run(read()).decode() == "0 ü\n1 ü\n2 ü\n"
    assert answer.headers["Content-Disposition"].startswith("attachment; filename*=")


def test_any_other_server_does_too() -> None:
    made: list[int] = []
    answer = downloads.answer(RequestFactory().get("/"), counted(made), media_type="text/plain", name="a.txt")
    assert next(iter(answer)) == "0 ü\n".encode()
    assert made == [0]
