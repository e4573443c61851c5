"""MCP servers of the official package, each a process of its own: `python -m tests.mcp_servers KIND PORT`.

"http" answers with streams, "json" with plain JSON, "sse" speaks the transport of 2024. All want TOKEN, as
Authorization: Bearer or in X-Tool-Key.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer

from tests import servers

TOKEN = "tool-canary-0123456789abcdef"
STEPS = 3


def application(kind: str) -> Any:
    """Return the server's ASGI application."""
    server = MCPServer("toolbox", version="1.2.3")

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool()
    def headers(ctx: Context) -> str:
        """Tell which headers came in; the token itself would not pass the gateway."""
        return json.dumps(dict(ctx.headers or {})).replace(TOKEN, "THE TOKEN")

    @server.tool()
    def fail() -> str:
        """Fail."""
        raise ValueError("it does not work")

    @server.tool()
    async def count(ctx: Context) -> str:
        """Tell of each step; go on only once the file that NEXT names is there, so that a test can see that the
        first step has arrived before the last was taken."""
        await ctx.report_progress(1, STEPS)
        gate = Path(os.environ["NEXT"])
        import anyio

        while not gate.exists():
            await anyio.sleep(0.02)
        for step in range(2, STEPS + 1):
            await ctx.report_progress(step, STEPS)
        return "done"

    app = server.sse_app() if kind == "sse" else server.streamable_http_app(json_response=kind == "json")

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        given = dict(scope["headers"])
        if TOKEN.encode() in (given.get(b"authorization", b"").removeprefix(b"Bearer "), given.get(b"x-tool-key")):
            await app(scope, receive, send)
            return
        wanted = [(b"www-authenticate", b'Bearer error="invalid_token"'), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 401, "headers": wanted})
        await send({"type": "http.response.body", "body": b'{"error":"invalid_token"}'})

    return guarded


@contextlib.contextmanager
def running(kind: str, gate: Path) -> Iterator[str]:
    """Run one and yield its address."""
    port = servers.free_port()
    command = [sys.executable, "-m", "tests.mcp_servers", kind, str(port)]
    process = subprocess.Popen(command, env={**os.environ, "NEXT": str(gate)}, cwd=Path(__file__).resolve().parents[1])
    try:
        servers.wait_for_port(port, process)
        yield f"http://127.0.0.1:{port}/{'sse' if kind == 'sse' else 'mcp'}"
    finally:
        process.kill()
        process.wait(30)


if __name__ == "__main__":
    uvicorn.run(application(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="error", ws="none")
