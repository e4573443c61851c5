"""Everything that a measurement needs, started on loopback: upstream, nginx, PostgreSQL, the product."""

import base64
import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from bench import processes
from tests import servers

ROOT = Path(__file__).resolve().parent.parent
EMAIL = "bench@example.com"
PROVIDER_KEY = "sk-" + "bench" * 10
PLENTY = "1000000000"


@dataclass(frozen=True)
class Place:
    """One thing that answers, and the process whose cost is counted; 0 where none is."""

    name: str
    port: int
    prefix: str = ""
    token: str = ""
    pid: int = 0
    database_pid: int = 0


def listens(port: int) -> Callable[[], bool]:
    """Return a test of whether somebody listens on the port."""

    def test() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    return test


@contextlib.contextmanager
def upstream(folder: Path) -> Iterator[Place]:
    """Run the provider that costs next to nothing."""
    port, log = servers.free_port(), folder / "upstream.log"
    command = [sys.executable, "-m", "bench.upstream", "--port", str(port)]
    with processes.running(command, log=log) as process:
        processes.wait_until(listens(port), process, log)
        yield Place("direct", port)


@contextlib.contextmanager
def nginx(folder: Path, behind: int) -> Iterator[Place | None]:
    """Run nginx with one worker as a plain proxy before the port; yield None where it is not installed."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        yield None
        return
    port, log, config = servers.free_port(), folder / "nginx.log", folder / "nginx.conf"
    config.write_text(_nginx_config(folder, port, behind))
    command = [program, "-p", str(folder), "-c", str(config), "-e", str(folder / "nginx-errors.log")]
    with processes.running(command, log=log) as process:
        processes.wait_until(listens(port), process, log)
        yield Place("nginx", port, pid=process.pid)


def _nginx_config(folder: Path, port: int, behind: int) -> str:
    user = "user root;" if os.geteuid() == 0 else ""
    return textwrap.dedent(
        f"""\
        {user}
        worker_processes 1;
        daemon off;
        pid {folder}/nginx.pid;
        events {{ worker_connections 2048; }}
        http {{
            access_log off;
            client_body_temp_path {folder}/body;
            proxy_temp_path {folder}/proxy;
            fastcgi_temp_path {folder}/fastcgi;
            uwsgi_temp_path {folder}/uwsgi;
            scgi_temp_path {folder}/scgi;
            keepalive_requests 10000000;
            upstream provider {{ server 127.0.0.1:{behind}; keepalive 256; keepalive_requests 10000000; }}
            server {{
                listen 127.0.0.1:{port};
                location / {{
                    proxy_pass http://provider;
                    proxy_http_version 1.1;
                    proxy_set_header Connection "";
                    proxy_buffering off;
                }}
            }}
        }}
        """
    )


def product_environment(folder: Path, database: str, upstream_port: int) -> dict[str, str]:
    """Return the variables of a product that calls the fake provider as OpenAI."""

    def key() -> str:
        return base64.b64encode(secrets.token_bytes(32)).decode()

    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return inherited | {
        "DIGITALME_ENV_FILE": "",
        "DIGITALME_VAR_DIR": str(folder / "var"),
        "DATABASE_URL": database,
        "SECRET_KEY": key(),
        "DIGITALME_MASTER_KEYS": f"bench:{key()}",
        "DIGITALME_FINGERPRINT_KEY": key(),
        "DIGITALME_AUDIT_KEY": key(),
        "DIGITALME_UPSTREAM_OPENAI": f"http://127.0.0.1:{upstream_port}",
        "DIGITALME_SYSTEM_KEY_OPENAI": PROVIDER_KEY,
        "LOG_LEVEL": "WARNING",
        # Requests are counted, as for everybody, but never too many.
        **{f"DIGITALME_GATEWAY_RATE_PER_{whom}": "1000000000" for whom in ("TOKEN", "USER", "ADDRESS")},
    }


def manage(environ: dict[str, str], *arguments: str, given: str = "") -> str:
    """Run one of the product's commands and return what it prints; raise RuntimeError if it fails."""
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environ, input=given, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"manage.py {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def furnish(environ: dict[str, str], *, own_key: bool) -> str:
    """Make tables, a user with limits that never refuse, and return an access token."""
    manage(environ, "prepare")
    manage(environ, "create_user", EMAIL, "--password-stdin", given="correct horse battery staple\n")
    for kind in ("demo", "daily", "monthly"):
        amounts = ["--requests", PLENTY, "--tokens", PLENTY + "000", "--cost", "1000000"]
        manage(environ, "set_allocation", EMAIL, "--provider", "openai", "--type", kind, *amounts)
    if own_key:
        manage(environ, "set_key", "openai", "--user", EMAIL, given=PROVIDER_KEY)
    return manage(environ, "create_access_token", EMAIL, "--name", "bench")


@contextlib.contextmanager
def product(folder: Path, environ: dict[str, str], token: str) -> Iterator[Place]:
    """Run the product's web server, one process, as it runs in production."""
    port, log = servers.free_port(), folder / "web.log"
    command = [sys.executable, "-m", "digitalme.server", "--port", str(port)]
    with processes.running(command, log=log, environ=environ) as process:
        processes.wait_until(listens(port), process, log)
        yield Place(
            "digitalme",
            port,
            prefix="/gateway/openai",
            token=token,
            pid=process.pid,
            database_pid=_database_process(environ["DATABASE_URL"]),
        )


def _database_process(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SHOW data_directory").fetchone()
    assert row  # noqa: S101 (SHOW always answers)
    return int(Path(row[0], "postmaster.pid").read_text().splitlines()[0])


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Yield a folder for logs, sockets and data, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="digitalme-bench-") as name:
        yield Path(name)
