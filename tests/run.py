"""Run the tests: `python -m tests.run [--both | --servers] [pytest's arguments]`.

Plain, the suite runs on SQLite, and tests that start servers of their own do so where these are
installed. --servers runs it on a throw-away PostgreSQL and Redis instead, --both in parts on both at once.
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
from tests.parts import ALONE, EMBEDDED, PART, SERVERS

# The vault and the key ring are tested in every branch by tests that need no database.
_BRANCHES = ["--cov=apikeys.vault", "--cov=apikeys.keyring", "--cov-branch", "--cov-fail-under=100"]
_BRANCHES += ["--cov-report=term-missing:skip-covered"]


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


def on_sqlite(arguments: list[str], output: IO[str] | None = None, part: str = "") -> int:
    """Run the suite, or a part of it, with nothing but the embedded database, cache and broker."""
    return _pytest(arguments, {PART: part}, output)


def on_servers(arguments: list[str], output: IO[str] | None = None, part: str = "") -> int:
    """Run the suite, or a part of it, on PostgreSQL and Redis; both must be installed."""
    if reason := servers.postgres_missing() or servers.redis_missing():
        sys.stdout.write(f"\n=== {reason}, so the suite cannot run on PostgreSQL and Redis\n")
        return 1
    with contextlib.ExitStack() as stack:
        variables = {
            "DATABASE_URL": stack.enter_context(servers.postgres()),
            "REDIS_URL": stack.enter_context(servers.redis()),
        }
        return _pytest(arguments, {**variables, PART: part}, output)


def on_both(arguments: list[str]) -> int:
    """Run the suite in its three parts (tests.parts), all at a time.

    If nothing narrows them, they have to reach every branch of the vault and the key ring. Each has databases, ports
    and folders of its own. What the second and the third print is shown when the first is through.
    """
    branches = [] if arguments else _BRANCHES
    arguments = [*arguments, "-p", "no:cacheprovider"]
    with ThreadPoolExecutor() as beside, contextlib.ExitStack() as stack:
        kept = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(2)]
        others = {
            "The tests on PostgreSQL and Redis": beside.submit(on_servers, arguments, kept[0], SERVERS),
            "The tests that use neither": beside.submit(on_sqlite, [*arguments, *branches], kept[1], ALONE),
        }
        _announce("The tests on SQLite alone")
        codes = [on_sqlite(arguments, None, EMBEDDED)]
        for (title, running), output in zip(others.items(), kept, strict=True):
            codes.append(running.result())
            _announce(title)
            output.seek(0)
            shutil.copyfileobj(output, sys.stdout)
    return max(codes)


def main(arguments: list[str]) -> int:
    """Return 0 if all that was asked for passed."""
    mode, rest = (arguments[0], arguments[1:]) if arguments[:1] in (["--both"], ["--servers"]) else ("", arguments)
    if mode == "--both":
        return on_both(rest)
    _announce("The tests on PostgreSQL and Redis" if mode else "The tests on SQLite alone")
    return on_servers(rest) if mode else on_sqlite(rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
