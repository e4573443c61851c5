"""Run the tests: `python -m tests.run [--both | --servers] [pytest's arguments]`.

Plain, the suite runs on SQLite, and tests that start servers of their own do so where these are
installed. --servers runs it on a throw-away PostgreSQL and Redis instead, --both does both at once.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import IO

from tests import servers


def chromium_missing() -> str | None:
    """Return why no browser can be driven, or None if one can."""
    return None if servers.chromium() else "Chromium is not installed"


def _announce(title: str) -> None:
    sys.stdout.write(f"\n=== {title}\n")
    for reason in filter(None, (servers.postgres_missing(), servers.redis_missing(), chromium_missing())):
        sys.stdout.write(f"=== {reason}: the tests that need it are skipped\n")
    sys.stdout.flush()


def _pytest(arguments: list[str], variables: Mapping[str, str], output: IO[str] | None = None) -> int:
    """Run the suite in a process of its own, print to `output` if given, and return pytest's exit code."""
    environ = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, env={**environ, **variables}, stdout=output, stderr=output).returncode


def on_sqlite(arguments: list[str]) -> int:
    """Run the suite with nothing but the embedded database, cache and broker."""
    _announce("The tests on SQLite alone")
    return _pytest(arguments, {})


def on_servers(arguments: list[str], output: IO[str] | None = None) -> int:
    """Run the suite on PostgreSQL and Redis; both must be installed."""
    if reason := servers.postgres_missing() or servers.redis_missing():
        sys.stdout.write(f"\n=== {reason}, so the suite cannot run on PostgreSQL and Redis\n")
        return 1
    if output is None:
        _announce("The tests on PostgreSQL and Redis")
    with contextlib.ExitStack() as stack:
        variables = {
            "DATABASE_URL": stack.enter_context(servers.postgres()),
            "REDIS_URL": stack.enter_context(servers.redis()),
        }
        if output is not None:
            variables["TESTS_BESIDE_SQLITE"] = "1"
        return _pytest(arguments, variables, output)


def on_both(arguments: list[str]) -> int:
    """Run the suite in both set-ups at once: each has databases, ports and folders of its own.

    What the second one prints is shown when the first one is through.
    """
    with tempfile.TemporaryFile("w+") as kept, ThreadPoolExecutor(1) as beside:
        second = beside.submit(on_servers, [*arguments, "-p", "no:cacheprovider"], kept)
        first = on_sqlite(arguments)
        code = second.result()
        _announce("The tests on PostgreSQL and Redis")
        kept.seek(0)
        shutil.copyfileobj(kept, sys.stdout)
    return max(first, code)


def main(arguments: list[str]) -> int:
    """Return 0 if all that was asked for passed."""
    mode, rest = (arguments[0], arguments[1:]) if arguments[:1] in (["--both"], ["--servers"]) else ("", arguments)
    runs = {"": on_sqlite, "--servers": on_servers, "--both": on_both}
    return runs[mode](rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
