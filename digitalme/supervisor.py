"""`make run`: everything on one machine, started, watched and stopped together."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from digitalme import env, env_file

READY_SECONDS = 60
STOP_SECONDS = 30
HOST = "127.0.0.1"


class CannotStart(Exception):
    """A start that failed; the message says what to do."""


@dataclass
class Child:
    """One process of ours, in a session of its own, so that Ctrl-C in the terminal reaches it only through us."""

    name: str
    arguments: tuple[str, ...]
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, *self.arguments, cwd=env_file.ROOT, stdin=asyncio.subprocess.DEVNULL, start_new_session=True
        )

    async def wait(self) -> int:
        """Return the exit code once the process has ended."""
        assert self.process  # noqa: S101 (started before it is waited for)
        return await self.process.wait()

    async def stop(self) -> None:
        """Ask it to end; after STOP_SECONDS end it with all that it started."""
        if self.process is None or self.process.returncode is not None:
            return
        self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), STOP_SECONDS)
        except TimeoutError:
            say(f"{self.name} does not stop by itself and is ended.")
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            await self.process.wait()


@dataclass
class Supervisor:
    """Starts web and worker, watches both, stops both."""

    port: int
    with_worker: bool
    children: list[Child] = field(default_factory=list)

    async def run(self) -> int:
        """Run until a signal comes (0) or a child ends by itself (1)."""
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        end = asyncio.create_task(stopped.wait())
        try:
            return await self._serve(end)
        except CannotStart as problem:
            say(str(problem))
            return 1
        finally:
            await self._stop_all()

    async def _serve(self, end: asyncio.Task[Any]) -> int:
        await _check_port(self.port)
        people = await _prepare(end)
        if end.done():
            return 0
        web = await self._start(Child("The web server", ("-m", "digitalme.server", "--port", str(self.port))))
        ready = asyncio.create_task(_ready(self.port))
        death = asyncio.create_task(web.wait())
        await asyncio.wait({ready, death, end}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if end.done():
            return 0
        if death.done() or not ready.done() or not ready.result():
            raise CannotStart("The web server did not start; the lines above say why.")
        deaths = {death: web}
        if self.with_worker:
            worker = await self._start(Child("The worker", WORKER))
            deaths[asyncio.create_task(worker.wait())] = worker
        say(welcome(self.port, people))
        await asyncio.wait({end, *deaths}, return_when=asyncio.FIRST_COMPLETED)
        return 0 if end.done() else _report(deaths)

    async def _start(self, child: Child) -> Child:
        self.children.append(child)
        await child.start()
        return child

    async def _stop_all(self) -> None:
        if any(child.process and child.process.returncode is None for child in self.children):
            say("Stopping: running calls are brought to their end ...")
        await asyncio.gather(*(child.stop() for child in self.children))


# Beat lives in the worker; its pool is the worker itself, which leaves a group-wide TERM nothing to hang on.
WORKER = (
    "-W", "ignore:You're running the worker with superuser privileges",
    "-m", "celery", "-A", "digitalme", "--skip-checks", "-q", "worker", "-B", "--pool=solo", "--loglevel=WARNING",
    "--without-gossip", "--without-mingle", "--without-heartbeat",
)  # fmt: skip


def _report(deaths: dict[asyncio.Task[int], Child]) -> int:
    for task, child in deaths.items():
        if task.done():
            say(f"{child.name} ended by itself (exit code {task.result()}); everything else is stopped.")
    return 1


async def _check_port(port: int) -> None:
    """Refuse a port that somebody else listens on: their answers would look like ours."""
    try:
        server = await asyncio.start_server(lambda _reader, writer: writer.close(), HOST, port)
    except OSError:
        raise CannotStart(f"Port {port} is taken. Choose another one: PORT={port + 1} make run") from None
    server.close()
    await server.wait_closed()


async def _prepare(end: asyncio.Task[Any]) -> list[dict[str, str]]:
    """Migrate and make the demo people in a process that ends, so that this one stays small."""
    demo = ("--demo",) if env.flag("DEMO_PEOPLE", True) else ()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "manage.py", "prepare", *demo,
        cwd=env_file.ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    output = asyncio.create_task(process.communicate())
    await asyncio.wait({output, end}, return_when=asyncio.FIRST_COMPLETED)
    if not output.done():
        process.terminate()
    printed, _ = await output
    if process.returncode and not end.done():
        raise CannotStart("Nothing was started; the lines above say why.")
    return json.loads(printed or b"[]") if not process.returncode else []


async def _ready(port: int) -> bool:
    """Return True once /readyz says so, False after READY_SECONDS without that."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(READY_SECONDS):
            while not await _answers(port):
                await asyncio.sleep(0.05)
            return True
    return False


async def _answers(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    try:
        writer.write(f"GET /readyz HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        return b" 200 " in await reader.readline()
    except OSError:
        return False
    finally:
        writer.close()


def welcome(port: int, people: list[dict[str, str]]) -> str:
    """Return what is printed once everything runs: where to sign in, and a first call to paste."""
    site = f"http://{HOST}:{port}"
    lines = [f"DigitalMe runs at {site}", ""]
    lines += [f"  sign in as {person['email']:<18} password {person['password']}" for person in people]
    lines += [f"  or sign up at {site}/accounts/signup/; the admin is at {site}/admin/", ""]
    token = people[0]["token"] if people else "dm_... (make one at /settings/security/)"
    return "\n".join([*lines, textwrap.indent(EXAMPLE.format(site=site, token=token), "  "), "", "Ctrl-C stops it."])


EXAMPLE = """\
A first call, which needs no provider's key (pip install openai):

    from openai import OpenAI

    client = OpenAI(base_url="{site}/gateway/sandbox/v1", api_key="{token}")
    answer = client.chat.completions.create(
        model="sandbox-1", messages=[{{"role": "user", "content": "Hello!"}}]
    )
    print(answer.choices[0].message.content)"""


def say(text: str) -> None:
    """Print to the terminal at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def load_environment() -> None:
    """Make the file of variables if it is not there, and give what it holds to all children."""
    path: Path | None = env_file.location()
    if path:
        if env_file.create(path):
            say(f"Fresh keys were written to {path}: keep a copy of it apart.")
        env.load_file(path)


def main() -> int:
    """Run in the foreground until Ctrl-C; return the exit code."""
    try:
        load_environment()
        port = env.number("PORT", 8000)
        supervisor = Supervisor(port=port, with_worker=env.flag("EMBEDDED_WORKER", True))
    except env.EnvironmentProblem as problem:
        say(str(problem))
        return 1
    os.environ.setdefault("SITE_URL", f"http://{HOST}:{port}")
    return asyncio.run(supervisor.run())


if __name__ == "__main__":
    sys.exit(main())
