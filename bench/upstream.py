"""A provider that costs next to nothing: fixed answers in OpenAI's chat format, plain and streamed.

It serves measurements only, so it reads no more of a request than it must: the header's length of the
body, and whether the body asks for a stream. Run it as `python -m bench.upstream --port 9100`.
"""

import argparse
import asyncio
import json
import re
from typing import cast

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAM = re.compile(rb'"stream": ?true')
EVENTS = 50  # with text, besides the role, the end and the usage
EVENT_SECONDS = 0.010
ANSWER_TEXT = "A hold is placed before the call and replaced by what was really used after it. " * 8
USAGE = {"prompt_tokens": 120, "completion_tokens": 130, "total_tokens": 250}


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def plain_answer() -> bytes:
    """Return a whole response, about 1.1 kB, with usage."""
    body = _compact(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 1_790_000_000,
            "model": "gpt-4o-mini-2024-07-18",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": ANSWER_TEXT}, "finish_reason": "stop"}
            ],
            "usage": USAGE,
        }
    )
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        b"x-request-id: req_bench\r\nopenai-processing-ms: 1\r\n\r\n%b" % (len(body), body)
    )


def stream_head() -> bytes:
    """Return the head of a streamed answer."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def stream_events(count: int = EVENTS) -> list[bytes]:
    """Return the events of a streamed answer, each as one HTTP chunk; the last ends the body."""

    def event(**facts: object) -> bytes:
        shared = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "model": "gpt-4o-mini-2024-07-18"}
        return chunk(b"data: %b\n\n" % _compact(shared | facts))

    def chunk(data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data)

    def delta(content: dict[str, str], finish: str | None = None) -> bytes:
        return event(choices=[{"index": 0, "delta": content, "finish_reason": finish}])

    return [
        delta({"role": "assistant", "content": ""}),
        *(delta({"content": f" word{number}"}) for number in range(count)),
        delta({}, "stop"),
        event(choices=[], usage=USAGE),
        chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n",
    ]


PLAIN, HEAD, STREAM = plain_answer(), stream_head(), stream_events()


class Upstream(asyncio.Protocol):
    """One connection, kept alive."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class shares no base with it

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        while (border := buffer.find(b"\r\n\r\n")) >= 0:
            match = _LENGTH.search(buffer, 0, border)
            end = border + 4 + (int(match[1]) if match else 0)
            if len(buffer) < end:
                break
            self._answer(buffer[border + 4 : end])
            buffer = buffer[end:]
        self._buffer = buffer

    def _answer(self, body: bytes) -> None:
        if _STREAM.search(body):
            self._transport.write(HEAD)
            self._send(0)
        else:
            self._transport.write(PLAIN)

    def _send(self, position: int) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(STREAM[position])
        if position + 1 < len(STREAM):
            asyncio.get_running_loop().call_later(EVENT_SECONDS, self._send, position + 1)


async def serve(port: int) -> None:
    """Answer on loopback until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A provider that costs next to nothing.")
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))
