"""The relay's HTTP client against a server that says exactly what the test wants."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from providers import http1
from providers.http1 import Broken, Connection, Origin, Pool, Refused

GET = http1.head_of("GET", "/", "localhost", {}, 0)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
Serve = Callable[..., Awaitable["Server"]]


class Server:
    """Answers each request's head with the next of its scripts: pieces to write, None to close."""

    def __init__(self, scripts: list[list[bytes | None]]) -> None:
        self.scripts, self.connections, self.requests = scripts, 0, 0
        self.origin = Origin("http", "127.0.0.1", 0)
        self.pool = Pool()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                for piece in self.scripts.pop(0):
                    if piece is None:
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.005)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def connection(self) -> Connection:
        return self.pool.take(self.origin) or await self.pool.connect(self.origin, "127.0.0.1", None)


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    running: list[tuple[asyncio.Server, Server]] = []

    async def start(*scripts: list[bytes | None]) -> Server:
        server = Server(list(scripts))
        listener = await asyncio.start_server(server.handle, "127.0.0.1", 0)
        server.origin = Origin("http", "127.0.0.1", listener.sockets[0].getsockname()[1])
        running.append((listener, server))
        return server

    yield start
    for listener, server in running:
        server.pool.close()
        listener.close()
        await asyncio.sleep(0.01)


async def exchange(server: Server, head: bytes = GET) -> tuple[int, bytes]:
    connection = await server.connection()
    try:
        await connection.send(head, b"")
        return connection.status, await connection.read(1_000_000)
    finally:
        connection.release()


@pytest.mark.parametrize(
    ("pieces", "body"),
    [
        ([OK], b"ok"),
        ([OK[:20], OK[20:30], OK[30:]], b"ok"),
        ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab", b"c\r\n1\r\nd\r", b"\n0\r\n\r\n"], b"abcd"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", OK], b"ok"),
        ([b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n" + OK], b"ok"),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], b""),
        ([b"HTTP/1.1 200 OK\r\n\r\nuntil", b" the end", None], b"until the end"),
        ([b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", None], b"ok"),
    ],
    ids=["length", "in pieces", "chunked", "continue", "hints", "no content", "until close", "1.0"],
)
async def test_an_answer_is_read_whole(serve: Serve, pieces: list[bytes | None], body: bytes) -> None:
    server = await serve(pieces)
    assert (await exchange(server))[1] == body


async def test_a_connection_is_used_again(serve: Serve) -> None:
    server = await serve([OK], [OK], [OK])
    for _ in range(3):
        assert await exchange(server) == (200, b"ok")
    assert (server.connections, server.requests) == (1, 3)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"],
        [b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok"],
        [OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"],
        [OK + b"junk"],
    ],
    ids=["closing", "1.0", "a second answer", "junk"],
)
async def test_a_connection_that_is_not_clean_is_not_used_again(serve: Serve, pieces: list[bytes | None]) -> None:
    server = await serve(pieces, [OK])
    assert await exchange(server) == (200, b"ok")
    assert await exchange(server) == (200, b"ok")
    assert server.connections == 2


async def test_what_arrives_unasked_never_becomes_an_answer(serve: Serve) -> None:
    server = await serve([OK, b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"], [OK])
    assert await exchange(server) == (200, b"ok")
    await asyncio.sleep(0.05)
    assert await exchange(server) == (200, b"ok")
    assert server.connections == 2


async def test_an_answer_to_head_has_no_body(serve: Serve) -> None:
    server = await serve([b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n"])
    assert await exchange(server, http1.head_of("HEAD", "/", "localhost", {}, 0)) == (200, b"")


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([None], "network"),
        ([b"HTTP/1.1 200", None], "network"),
        ([b"SSH-2.0-OpenSSH\r\n"], "protocol"),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"], "protocol"),
        ([b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n"], "protocol"),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", None], "cut"),
        ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhal", None], "cut"),
    ],
    ids=["silence", "half a line", "no http", "bad length", "long head", "half a body", "half a chunk"],
)
async def test_a_broken_answer_says_how_it_broke(serve: Serve, pieces: list[bytes | None], reason: str) -> None:
    server = await serve(pieces)
    with pytest.raises(Broken) as caught:
        await exchange(server)
    assert caught.value.reason == reason


async def test_an_answer_beyond_the_limit_is_not_read_on(serve: Serve) -> None:
    server = await serve([b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + b"x" * 100_000])
    connection = await server.connection()
    await connection.send(GET, b"")
    with pytest.raises(Broken, match="limit"):
        await connection.read(1000)
    connection.release()


async def test_a_provider_that_says_nothing_is_given_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "SILENCE_SECONDS", 0.05)
    server = await serve([])
    server.scripts.append([OK[:10]])
    with pytest.raises(Broken, match="timeout"):
        await exchange(server)


async def test_a_reader_that_is_slow_slows_the_sender(serve: Serve) -> None:
    body = b"x" * 4_000_000
    server = await serve([b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body])
    connection = await server.connection()
    await connection.send(GET, b"")
    await asyncio.sleep(0.1)
    assert connection._buffered < 2 * http1.BUFFER_BYTES + 1_000_000
    size = 0
    async for piece in connection.chunks():
        size += len(piece)
    assert size == len(body)
    connection.release()


async def test_a_cancelled_wait_closes_the_connection(serve: Serve) -> None:
    server = await serve([])
    server.scripts.append([OK[:5]])
    connection = await server.connection()
    task = asyncio.ensure_future(connection.send(GET, b""))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not connection.usable(asyncio.get_running_loop().time())


async def test_a_connection_that_was_idle_for_long_is_closed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await serve([OK], [OK])
    await exchange(server)
    monkeypatch.setattr(http1, "KEEP_ALIVE_SECONDS", 0.0)
    await exchange(server)
    assert server.connections == 2


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/a b", {}),
        ("GET", "/a\r\nx: y", {}),
        ("GET", "a", {}),
        ("GET", "/ä", {}),
        ("get", "/", {}),
        ("GET / HTTP/1.1\r\nx:", "/", {}),
        ("GET", "/", {"x": "a\r\nb: c"}),
        ("GET", "/", {"x": "a\nb: c"}),
        ("GET", "/", {"x": "a\rb"}),
        ("GET", "/", {"x": "a\0b"}),
        ("GET", "/", {"x\r\ny": "a"}),
        ("GET", "/", {"x": "\u2028"}),
    ],
)
def test_a_head_that_could_end_early_is_refused_without_its_value(
    method: str, path: str, headers: dict[str, str]
) -> None:
    with pytest.raises(Refused) as caught:
        http1.head_of(method, path, "localhost", headers, 0)
    assert "b: c" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("origin", "authority"),
    [
        (Origin("https", "api.openai.com", 443), "api.openai.com"),
        (Origin("http", "127.0.0.1", 9100), "127.0.0.1:9100"),
        (Origin("https", "2606:4700::1", 443), "[2606:4700::1]"),
    ],
)
def test_the_host_header_names_the_port_where_it_is_not_the_usual_one(origin: Origin, authority: str) -> None:
    assert origin.authority == authority
