"""A whole gateway for the tests: real web processes on the test database, and a provider on loopback."""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from django.conf import settings
from django.db import connection

from digitalme.accounts.models import User
from providers.builtin import BUILT_IN
from tests.commands import run
from tests.fakes import FakeProvider
from usage.models import UsageRecord

START_SECONDS = 60
EXAMPLES = ("mistral", "notion", "linear")
# A key of one's own for each provider.
KEYS = {
    "slack": "xoxb-1234567890-1234567890-theirs",
    "github": "ghp_theirs" + "a" * 30,
    "clickup": "pk_12345678_THEIRS0123456789ABCD",
    "telegram": "123456789:AAtheirs" + "b" * 27,
    "twocaptcha": "0123456789abcdef0123456789abcdef",
    "google": "ya29.theirs" + "c" * 30,
}


@dataclass(slots=True)
class WebProcess:
    """One running web process."""

    url: str
    process: subprocess.Popen[bytes]

    def gateway(self, provider: str, path: str = "") -> str:
        """Return the base URL that an SDK is given."""
        return f"{self.url}/gateway/{provider}{path}"

    def stop(self, how: int = signal.SIGTERM) -> int:
        """Send the signal and wait for the end."""
        self.process.send_signal(how)
        return self.process.wait(30)


@dataclass(slots=True)
class Person:
    """Somebody with an access token."""

    user: User
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def records(self) -> list[UsageRecord]:
        """Return this person's records, oldest first."""
        return list(UsageRecord.objects.filter(user_id=self.user.id).order_by("timestamp", "request_id"))

    def record(self, status: str | None = None, seconds: float = 10) -> UsageRecord:
        """Wait for the one record (of that status): settlement follows the answer."""
        end = time.monotonic() + seconds
        while True:
            found = [one for one in self.records() if status in (None, one.status)]
            if len(found) == 1:
                return found[0]
            if time.monotonic() > end:
                raise AssertionError(f"records: {[(one.status, one.error_type) for one in self.records()]}")
            time.sleep(0.02)


def until(what: Callable[[], object], seconds: float = 15) -> None:
    """Wait until it holds: settlement and the look for providers follow by themselves."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def database_url() -> str:
    """Return the address of the test database for another process."""
    at = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{at['NAME']}"
    host, port = at["HOST"] or "127.0.0.1", at["PORT"] or 5432
    return f"postgres://{quote(at['USER'])}:{quote(at['PASSWORD'])}@{quote(host, safe='')}:{port}/{at['NAME']}"


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def web_process(
    upstream: str, application: str = "digitalme.asgi:application", *, tls: Path | None = None, **more: str
) -> Iterator[WebProcess]:
    """Run one web process on the test database until the block ends; with `tls`, a file with a key and its
    certificate, it speaks https alone."""
    port = free_port()
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DATABASE_URL": database_url(),
        **{f"DIGITALME_UPSTREAM_{slug.upper()}": upstream for slug in (*BUILT_IN, *EXAMPLES)},
        "DIGITALME_SYSTEM_KEY_OPENAI": "sk-house-0123456789abcdefghij",
        "DIGITALME_SYSTEM_KEY_ANTHROPIC": "sk-ant-house-0123456789abcdefghij",
        **more,
    }
    command = [sys.executable, "-m", "uvicorn", application, "--port", str(port)]
    command += ["--no-access-log", "--timeout-graceful-shutdown", "1"]
    if tls:
        command += ["--ssl-keyfile", str(tls), "--ssl-certfile", str(tls)]
    process = subprocess.Popen(command, env=environment, cwd=settings.BASE_DIR, stderr=subprocess.PIPE)
    web = WebProcess(f"{'https' if tls else 'http'}://127.0.0.1:{port}", process)
    try:
        _wait_until_alive(web, tls)
        yield web
    finally:
        if process.poll() is None:
            web.stop(signal.SIGKILL)
        if process.stderr:
            process.stderr.close()


def _wait_until_alive(web: WebProcess, tls: Path | None) -> None:
    context = ssl.create_default_context(cafile=tls) if tls else None
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and web.process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{web.url}/healthz", timeout=2, context=context):
            return
        time.sleep(0.05)
    raise AssertionError("The web process does not answer.")


@pytest.fixture(scope="session")
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as fake:
        yield fake


@pytest.fixture(scope="session")
def web(django_db_setup: None, django_db_blocker: Any, provider: FakeProvider) -> Iterator[WebProcess]:
    with contextlib.ExitStack() as stack:
        with django_db_blocker.unblock():
            process = stack.enter_context(web_process(provider.url))
        yield process


@pytest.fixture(autouse=True)
def _closed_sdks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What an SDK opened is closed with its test, and not at some later one, where the collector comes by."""
    made: list[httpx2.Client] = []
    initialise = httpx2.Client.__init__

    def noted(self: httpx2.Client, *arguments: Any, **options: Any) -> None:
        initialise(self, *arguments, **options)
        made.append(self)

    monkeypatch.setattr(httpx2.Client, "__init__", noted)
    yield
    for client in made:
        client.close()


@pytest.fixture(autouse=True)
def _well_behaved(provider: FakeProvider) -> None:
    provider.reset()


def command(name: str, *arguments: str, stdin: str = "") -> str:
    """Run a management command and return the line that it printed."""
    return run(name, *arguments, stdin=stdin).strip()


@pytest.fixture
def person() -> Callable[[], Person]:
    """Make a person with an access token, as an administrator does on the command line."""

    def make() -> Person:
        email = f"{uuid.uuid4().hex}@example.com"
        command("create_user", email)
        return Person(User.objects.get(email=email), command("create_access_token", email))

    return make


@pytest.fixture
def alice(person: Callable[[], Person]) -> Person:
    return person()


@pytest.fixture
def ann(alice: Person) -> Person:
    """Somebody with a key of her own for each provider."""
    for slug, key in KEYS.items():
        command("set_key", slug, "--user", alice.user.email, stdin=key)
    return alice


@pytest.fixture
def start_web() -> Iterator[Callable[..., WebProcess]]:
    """Start further web processes, each for one test."""
    with contextlib.ExitStack() as stack:
        yield lambda upstream, **more: stack.enter_context(web_process(upstream, **more))


@pytest.fixture
def unused_port() -> int:
    return free_port()
