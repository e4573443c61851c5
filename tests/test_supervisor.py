"""`make run`: from nothing to a served page and a first call, and back to nothing."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from bench import processes
from digitalme import env
from tests import servers

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 90
LAST_LINE = "Ctrl-C stops it."


@dataclass
class Run:
    """One `make run` in a folder of its own."""

    folder: Path
    port: int
    process: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)

    @property
    def site(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while text not in self.said:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)

    def end(self, how: int = signal.SIGINT) -> int:
        self.process.send_signal(how)
        return self.process.wait(timeout=START_SECONDS)

    def children(self) -> dict[str, int]:
        """Process ids by what they run."""
        found: dict[str, int] = {}
        for pid in processes.family(self.process.pid)[1:]:
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                found.setdefault("worker" if "celery" in command else "web", pid)
        return found


@contextlib.contextmanager
def started(folder: Path, **variables: str) -> Iterator[Run]:
    port = int(variables.get("PORT", servers.free_port()))
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environ = inherited | {
        "DIGITALME_ENV_FILE": str(folder / ".env"),
        "DIGITALME_VAR_DIR": str(folder / "var"),
        "PORT": str(port),
        "EMBEDDED_WORKER": "false",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "digitalme.supervisor"],
        cwd=ROOT, env=environ | variables, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout
    run = Run(folder, port, process)
    reader = threading.Thread(target=lambda pipe=process.stdout: run.lines.extend(line.rstrip() for line in pipe))
    reader.start()
    try:
        yield run
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=START_SECONDS)
        reader.join(timeout=10)
        process.stdout.close()


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A start from nothing, with everything that belongs to it."""
    with started(tmp_path_factory.mktemp("clone"), EMBEDDED_WORKER="true") as run:
        run.wait_for(LAST_LINE)
        yield run


def test_a_start_from_nothing_serves_pages(first_run: Run) -> None:
    assert first_run.site in first_run.said
    assert requests.get(f"{first_run.site}/readyz", timeout=10).json()["ready"] is True
    assert requests.get(f"{first_run.site}/accounts/signup/", timeout=10).status_code == 200


def test_it_makes_keys_for_their_owner_only(first_run: Run) -> None:
    assert (first_run.folder / ".env").stat().st_mode & 0o777 == 0o600
    secrets = env.read_file(first_run.folder / ".env").values()
    assert not [secret for secret in secrets if secret in first_run.said]


@pytest.mark.parametrize(("email", "page"), [("demo@example.com", "/settings/api/"), ("admin@example.com", "/admin/")])
def test_the_people_it_names_can_sign_in(first_run: Run, email: str, page: str) -> None:
    printed = re.search(rf"sign in as {email}\s+password (\S+)", first_run.said)
    assert printed
    with requests.Session() as browser:
        form = browser.get(f"{first_run.site}/accounts/login/", timeout=10).text
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
        assert token
        data = {"csrfmiddlewaretoken": token[1], "login": email, "password": printed[1]}
        browser.post(f"{first_run.site}/accounts/login/", data=data, timeout=10)
        answer = browser.get(f"{first_run.site}{page}", timeout=10, allow_redirects=False)
    assert answer.status_code == 200


def test_the_example_that_it_prints_works_as_it_stands(first_run: Run) -> None:
    code = re.search(r"(?ms)^ +from openai import OpenAI\n.*?^ +print\(.*?$", first_run.said)
    assert code
    lines = [line.strip() for line in code[0].splitlines()]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_passwords_are_remembered_for_their_owner_only(first_run: Run) -> None:
    memory = first_run.folder / "var" / "demo-people.json"
    assert memory.stat().st_mode & 0o777 == 0o600
    assert {person["email"] for person in json.loads(memory.read_text())} == {"demo@example.com", "admin@example.com"}


def test_web_and_worker_run_in_sessions_of_their_own(first_run: Run) -> None:
    children = first_run.children()
    assert set(children) == {"web", "worker"}
    assert len({os.getsid(pid) for pid in [*children.values(), first_run.process.pid]}) == 3


def test_a_second_start_keeps_keys_people_and_tables_and_ends_cleanly(tmp_path: Path) -> None:
    printed, keys = [], []
    for _ in range(2):
        with started(tmp_path) as run:
            run.wait_for(LAST_LINE)
            assert run.end(signal.SIGTERM) == 0
        printed.append(re.findall(r"password (\S+)|api_key=\"(\S+)\"", run.said))
        keys.append((tmp_path / ".env").read_text())
    assert printed[0] == printed[1]
    assert keys[0] == keys[1]
    assert "Preparing the database" not in run.said
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", run.port)) != 0


def test_a_child_that_dies_is_named_and_the_rest_is_stopped(tmp_path: Path) -> None:
    with started(tmp_path, EMBEDDED_WORKER="true") as run:
        run.wait_for(LAST_LINE)
        children = run.children()
        os.kill(children["worker"], signal.SIGKILL)
        assert run.process.wait(timeout=START_SECONDS) == 1
    assert "The worker ended by itself (exit code -9)" in run.said
    with pytest.raises(ProcessLookupError):
        os.kill(children["web"], 0)


def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with started(tmp_path, PORT=str(port)) as run:
            assert run.process.wait(timeout=START_SECONDS) == 1
    assert f"Port {port} is taken. Choose another one: PORT={port + 1} make run" in run.said


def test_a_master_key_that_cannot_be_used_stops_the_start_with_a_sentence(tmp_path: Path) -> None:
    with started(tmp_path, DIGITALME_MASTER_KEYS="k1:dG9vc2hvcnQ=") as run:
        assert run.process.wait(timeout=START_SECONDS) == 1
    assert "The master key 'k1' is too short" in run.said
    assert "Traceback" not in run.said
    assert "dG9vc2hvcnQ" not in run.said


def test_without_demo_people_nobody_is_made(tmp_path: Path) -> None:
    with started(tmp_path, DEMO_PEOPLE="false") as run:
        run.wait_for(LAST_LINE)
        assert run.end() == 0
    assert "sign in as" not in run.said
    assert not (tmp_path / "var" / "demo-people.json").exists()
