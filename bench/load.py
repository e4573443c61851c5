"""Closed-loop load: a number of connections, each with one call in flight, for a number of seconds.

wrk does it where it is installed (it takes less of the machine away from what is measured); streams, and
everything where there is no wrk, are driven by the asyncio client below.
"""

import asyncio
import json
import math
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
LAST_CHUNK = b"0\r\n\r\n"
DRAIN_SECONDS = 10.0


@dataclass(frozen=True)
class Target:
    """Where to send which call."""

    port: int
    path: str
    headers: dict[str, str]
    body: bytes

    def request(self) -> bytes:
        """Return the call as it goes over the wire."""
        lines = [f"POST {self.path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@dataclass
class Result:
    """What one run saw; times in milliseconds."""

    calls: int
    seconds: float
    p50: float
    p99: float
    first_p50: float
    first_p99: float
    errors: int
    sample: str = ""

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the sorted values lies; NaN of nothing."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else math.nan


@dataclass
class _Run:
    request: bytes
    until: float
    open: int
    done: asyncio.Event = field(default_factory=asyncio.Event)
    took: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    errors: int = 0
    sample: str = ""


class _Caller(asyncio.Protocol):
    """One connection: sends a call, reads its whole answer, sends the next one."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class shares no base with it
        self._send()

    def _send(self) -> None:
        now = time.perf_counter()
        if now >= self._run.until:
            self._transport.close()
            return
        self._buffer, self._border, self._length, self._seen_first = b"", -1, -1, 0.0
        self._waiting, self._sent = True, now
        self._transport.write(self._run.request)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer = self._buffer + data if self._buffer else data
        if self._border < 0:
            self._border = buffer.find(b"\r\n\r\n")
            if self._border < 0:
                return
            match = _LENGTH.search(buffer, 0, self._border)
            self._length = int(match[1]) if match else -1
        if not self._seen_first and len(buffer) > self._border + 4:
            self._seen_first = time.perf_counter()
        if self._complete(buffer):
            self._finish(buffer)

    def _complete(self, buffer: bytes) -> bool:
        if self._length >= 0:
            return len(buffer) >= self._border + 4 + self._length
        return buffer.endswith(LAST_CHUNK)

    def _finish(self, buffer: bytes) -> None:
        now, run = time.perf_counter(), self._run
        self._waiting = False
        if buffer.startswith(b"HTTP/1.1 200"):
            run.took.append(now - self._sent)
            run.first.append((self._seen_first or now) - self._sent)
        else:
            run.errors += 1
            run.sample = run.sample or buffer[:400].decode(errors="replace")
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        run = self._run
        run.errors += self._waiting
        run.open -= 1
        if run.open == 0:
            run.done.set()


async def _drive(target: Target, connections: int, seconds: float) -> Result:
    loop, start = asyncio.get_running_loop(), time.perf_counter()
    run = _Run(request=target.request(), until=start + seconds, open=connections)
    await asyncio.gather(
        *(loop.create_connection(lambda: _Caller(run), "127.0.0.1", target.port) for _ in range(connections))
    )
    try:
        await asyncio.wait_for(run.done.wait(), seconds + DRAIN_SECONDS)
    except TimeoutError:
        run.errors += run.open
    took, first = sorted(run.took), sorted(run.first)
    return Result(
        calls=len(took),
        seconds=time.perf_counter() - start,
        p50=percentile(took, 0.5) * 1e3,
        p99=percentile(took, 0.99) * 1e3,
        first_p50=percentile(first, 0.5) * 1e3,
        first_p99=percentile(first, 0.99) * 1e3,
        errors=run.errors,
        sample=run.sample,
    )


def drive(target: Target, connections: int, seconds: float) -> Result:
    """Load a target with our own client and return what it saw."""
    return uvloop.run(_drive(target, connections, seconds))


_REPORT = """
done = function(summary, latency, requests)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format('\\nRESULT {"calls":%d,"us":%d,"p50":%d,"p99":%d,"errors":%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), failed))
end
"""


def drive_with_wrk(target: Target, connections: int, seconds: float) -> Result:
    """Load a target with wrk, one thread, and return what it saw."""
    script = f"wrk.method = 'POST'\nwrk.body = [==[{target.body.decode()}]==]\n"
    script += "".join(
        f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}\n" for name, value in target.headers.items()
    )
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script + _REPORT)
        file.flush()
        url = f"http://127.0.0.1:{target.port}{target.path}"
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", file.name, url]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    seen = json.loads(printed.split("\nRESULT ", 1)[1].splitlines()[0])
    p50, p99 = seen["p50"] / 1e3, seen["p99"] / 1e3
    return Result(seen["calls"], seen["us"] / 1e6, p50, p99, p50, p99, seen["errors"])


def best_driver(*, streams: bool) -> str:
    """Return which client loads: wrk for plain calls where it is installed, else our own."""
    return "wrk" if not streams and shutil.which("wrk") else "asyncio"
