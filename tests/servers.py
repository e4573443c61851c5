"""Throw-away PostgreSQL, Redis and Dovecot servers on loopback, from the installed programs."""

import contextlib
import grp
import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_SECONDS = 60


def free_port() -> int:
    """Return a TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _postgres_program(name: str) -> str | None:
    """Return where a program of PostgreSQL's server lies; Debian keeps them out of PATH."""
    newest_first = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]), reverse=True
    )
    return shutil.which(name) or next((str(path) for path in newest_first), None)


def postgres_missing() -> str | None:
    """Return why no PostgreSQL server can be started, or None if one can."""
    return None if _postgres_program("initdb") and _postgres_program("postgres") else "PostgreSQL is not installed"


def redis_missing() -> str | None:
    """Return why no Redis server can be started, or None if one can."""
    return None if shutil.which("redis-server") else "Redis is not installed"


def dovecot_missing() -> str | None:
    """Return why no Dovecot server can be started, or None if one can."""
    return None if _dovecot_program() and Path("/usr/lib/dovecot/imap").exists() else "Dovecot is not installed"


def _dovecot_program() -> str | None:
    return shutil.which("dovecot") or next((one for one in ("/usr/sbin/dovecot",) if Path(one).exists()), None)


def chromium() -> str | None:
    """Return where an installed Chromium lies, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def _unprivileged() -> dict[str, Any]:
    """Return the arguments with which a process drops root's rights, which PostgreSQL asks for."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = known.get("postgres") or known["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


@contextlib.contextmanager
def _folder(owner: dict[str, Any]) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="digitalme-server-"))
    if owner:
        os.chown(path, owner["user"], owner["group"])
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _running(arguments: list[str], folder: Path, port: int, **options: Any) -> Iterator[None]:
    """Run a server until the block ends; it counts as started once its port answers."""
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )
    try:
        wait_for_port(port, process, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for_port(port: int, process: "subprocess.Popen[bytes]", log: Path | None = None) -> None:
    """Wait until a server that was started listens. Raises RuntimeError with its log if it ends or never does."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended at its start:\n{_read(log)}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not answer:\n{_read(log)}")


def _read(log: Path | None) -> str:
    return log.read_text(errors="replace") if log else ""


@contextlib.contextmanager
def postgres(*, durable: bool = False) -> Iterator[str]:
    """Run a PostgreSQL server and yield the URL of an empty database on it.

    Unless `durable`, nothing is flushed to disk: right for tests, wrong for a measurement.
    """
    owner, port = _unprivileged(), free_port()
    initdb, server = _postgres_program("initdb"), _postgres_program("postgres")
    if not initdb or not server:
        raise RuntimeError("PostgreSQL is not installed")
    with _folder(owner) as folder:
        subprocess.run(
            [initdb, "-D", "data", "-U", "digitalme", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"],
            cwd=folder,
            check=True,
            capture_output=True,
            **owner,
        )
        chosen = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            "max_connections": "100",
        }
        if not durable:
            chosen |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        arguments = [server, "-D", "data"] + [
            word for key, value in chosen.items() for word in ("-c", f"{key}={value}")
        ]
        with _running(arguments, folder, port, **owner):
            yield _new_database(f"postgres://digitalme@127.0.0.1:{port}/postgres")


@contextlib.contextmanager
def database_beside(url: str) -> Iterator[str]:
    """Yield the URL of a new, empty database on the server of this URL; it is dropped afterwards."""
    made = _new_database(url)
    try:
        yield made
    finally:
        _execute(url, f'DROP DATABASE "{made.rsplit("/", 1)[1]}" WITH (FORCE)')


def _new_database(url: str) -> str:
    name = f"digitalme_{secrets.token_hex(4)}"
    for second in range(START_SECONDS):
        try:
            _execute(url, f'CREATE DATABASE "{name}"')
            break
        except Exception as problem:
            # The port answers a moment before the server takes queries.
            if "starting up" not in str(problem) or second == START_SECONDS - 1:
                raise
            time.sleep(1)
    return re.sub(r"/[^/]*$", f"/{name}", url)


def _execute(url: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """Run a Redis server that keeps nothing on disk and yield its URL."""
    program, port = shutil.which("redis-server"), free_port()
    if not program:
        raise RuntimeError("Redis is not installed")
    with _folder({}) as folder:
        arguments = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        with _running(arguments, folder, port):
            yield f"redis://127.0.0.1:{port}/0"


@dataclass(frozen=True)
class Dovecot:
    """An IMAP server on loopback: TLS at once on one port, STARTTLS on the other."""

    tls_port: int
    starttls_port: int


def _all_as(me: pwd.struct_passwd) -> dict[str, str]:
    """Have every process of Dovecot's run as one ordinary user, who can change no owner."""
    users = dict.fromkeys(("default_internal_user", "default_login_user"), me.pw_name)
    return {**users, "default_internal_group": grp.getgrgid(me.pw_gid).gr_name}


@contextlib.contextmanager
def dovecot(certificate: Path, people: dict[str, str]) -> Iterator[Dovecot]:
    """Run a Dovecot server for these people, each with a password.

    `certificate` is a file in PEM with chain and private key.
    """
    program, ports = _dovecot_program(), Dovecot(free_port(), free_port())
    if not program:
        raise RuntimeError("Dovecot is not installed")
    root, me = os.geteuid() == 0, pwd.getpwuid(os.geteuid())
    keeper = pwd.getpwnam("nobody") if root else me
    with _folder({}) as folder:
        folder.chmod(0o755)
        mail = folder / "mail"
        mail.mkdir()
        os.chown(mail, keeper.pw_uid, keeper.pw_gid)
        (folder / "passwd").write_text("".join(f"{name}:{{PLAIN}}{word}\n" for name, word in people.items()))
        (folder / "key.pem").write_bytes(certificate.read_bytes())
        chosen = {
            "protocols": "imap",
            "base_dir": f"{folder}/run",
            "state_dir": f"{folder}/state",
            "log_path": f"{folder}/dovecot.log",
            "listen": "127.0.0.1",
            "ssl": "required",
            "ssl_cert": f"<{folder}/key.pem",
            "ssl_key": f"<{folder}/key.pem",
            "auth_mechanisms": "plain login",
            "auth_failure_delay": "0",
            "mail_location": f"maildir:{mail}/%u",
            "mail_uid": str(keeper.pw_uid),
            "mail_gid": str(keeper.pw_gid),
            "first_valid_uid": "1",
            "first_valid_gid": "1",
            **({} if root else _all_as(me)),
        }
        blocks = f"""
passdb {{
  driver = passwd-file
  args = username_format=%u {folder}/passwd
}}
userdb {{
  driver = static
  args = uid={keeper.pw_uid} gid={keeper.pw_gid} home={mail}/%u
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {ports.starttls_port}
  }}
  inet_listener imaps {{
    port = {ports.tls_port}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
}}
"""
        config = folder / "dovecot.conf"
        config.write_text("".join(f"{name} = {value}\n" for name, value in chosen.items()) + blocks)
        with _running([program, "-F", "-c", str(config)], folder, ports.tls_port):
            yield ports
