"""A provider on loopback for bodies of any size: it keeps none, and answers by what the path says."""

import gzip
import os
import socket
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs, urlsplit

from tests.fakes import QuietHandler, QuietServer

PIECE = bytes(range(256)) * 256
GATE_SECONDS = 30


@dataclass(slots=True)
class Taken:
    """One request as it came in: how long its body was, and its checksum."""

    method: str
    path: str
    headers: dict[str, str]
    size: int = 0
    checksum: int = 0
    whole: bool = False


@dataclass
class Sink:
    """Use as a context manager. `begun` is set once some of a body has come; a path with `gate` waits for `gate`
    in the middle of its answer."""

    taken: list[Taken] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.sink = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()

    def reset(self) -> None:
        """Forget what was seen."""
        self.gate.set()
        self.taken, self.begun, self.gate = [], threading.Event(), threading.Event()


class _Server(QuietServer):
    sink: Sink


class _Handler(QuietHandler):
    server: _Server

    def do_GET(self) -> None:
        sink = self.server.sink
        one = Taken(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        sink.taken.append(one)
        if "early" in self.path:
            self._say(413, b'{"err":"too large","ECODE":"ITEM_01"}', "application/json")
            # As servers do that want their answer to be read: what still comes is thrown away.
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            while self.connection.recv(65_536):
                pass
            self.close_connection = True
            return
        for piece in self._body():
            one.size += len(piece)
            one.checksum = zlib.crc32(piece, one.checksum)
            sink.begun.set()
        one.whole = True
        self._answer(one)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = do_GET

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("transfer-encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        left = int(self.headers.get("content-length", 0))
        while left:
            piece = self.rfile.read1(min(left, 65_536))
            if not piece:
                raise ConnectionError("the body broke off")
            left -= len(piece)
            yield piece

    def _answer(self, one: Taken) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        kind = asked.get("kind", "application/octet-stream")
        if "echo" in asked:
            key = one.headers["authorization"].encode()
            body = os.urandom(200_000) + key + PIECE
            zipped = "zipped" in asked
            self._say(200, gzip.compress(body) if zipped else body, kind, *[("content-encoding", "gzip")] * zipped)
        elif "bytes" in asked:
            self._send_long(int(asked["bytes"]), kind, asked)
        elif "zipped" in asked and "gzip" in one.headers.get("accept-encoding", ""):
            body = os.urandom(200_000) if "large" in asked else PIECE * 4
            self._say(200, gzip.compress(body, mtime=0), kind, ("content-encoding", "gzip"))
        else:
            self._say(200, b'{"size": %d}' % one.size, "application/json")

    def _say(self, status: int, body: bytes, kind: str, *more: tuple[str, str]) -> None:
        self.send_response(status)
        told = [("content-type", kind), ("content-length", str(len(body))), ("x-request-id", "r1")]
        told += [("x-ratelimit-remaining", "7"), ("set-cookie", "a=b"), ("keep-alive", "timeout=9")]
        for name, value in (*told, *more):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_long(self, size: int, kind: str, asked: dict[str, str]) -> None:
        chunked = "chunked" in asked
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header(*(("transfer-encoding", "chunked") if chunked else ("content-length", str(size))))
        self.end_headers()
        if self.command == "HEAD":
            return
        for start in range(0, size, len(PIECE)):
            piece = PIECE[: size - start]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            if start == 0 and "gate" in asked:
                self.server.sink.gate.wait(GATE_SECONDS)
            if start >= size // 2 and "cut" in asked:
                self.close_connection = True
                return
        if chunked:
            self.wfile.write(b"0\r\n\r\n")
