"""Run the tests: `python -m tests.run [--both | --servers] [pytest's arguments]`.

Plain, the suite runs on SQLite, and tests that start servers of their own do so where these are
installed. --servers runs it on a throw-away PostgreSQL and Redis instead, --both does one after the other.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping

from tests import servers


def chromium_missing() -> str | None:
    """Return why no browser can be driven, or None if one can."""
    return None if servers.chromium() else "Chromium is not installed"


def _announce(title: str) -> None:
    sys.stdout.write(f"\n=== {title}\n")
    for reason in filter(None, (servers.postgres_missing(), servers.redis_missing(), chromium_missing())):
        sys.stdout.write(f"=== {reason}: the tests that need it are skipped\n")
    sys.stdout.flush()


def _pytest(arguments: list[str], variables: Mapping[str, str]) -> int:
    """Run the suite in a process of its own and return pytest's exit code."""
    environ = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], env={**environ, **variables}).returncode


def on_sqlite(arguments: list[str]) -> int:
    """Run the suite with nothing but the embedded database, cache and broker."""
    _announce("The tests on SQLite alone")
    return _pytest(arguments, {})


def on_servers(arguments: list[str]) -> int:
    """Run the suite on PostgreSQL and Redis; both must be installed."""
    if reason := servers.postgres_missing() or servers.redis_missing():
        sys.stdout.write(f"\n=== {reason}, so the suite cannot run on PostgreSQL and Redis\n")
        return 1
    _announce("The tests on PostgreSQL and Redis")
    with contextlib.ExitStack() as stack:
        variables = {
            "DATABASE_URL": stack.enter_context(servers.postgres()),
            "REDIS_URL": stack.enter_context(servers.redis()),
        }
        return _pytest(arguments, variables)


def main(arguments: list[str]) -> int:
    """Return 0 if all that was asked for passed."""
    mode, rest = (arguments[0], arguments[1:]) if arguments[:1] in (["--both"], ["--servers"]) else ("", arguments)
    codes = [on_sqlite(rest)] if mode != "--servers" else []
    if mode:
        codes.append(on_servers(rest))
    return max(codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
