"""Tasks carry ids as JSON and nothing else; whoever can write to the broker gets nothing run."""

import ast
import base64
import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu.exceptions import ContentDisallowed
from kombu.serialization import loads

from digitalme.celery import app
from tests.gateway.conftest import database_url
from tests.test_architecture import modules

PRODUCT = modules()


class Payload:
    """What an attacker would have the worker unpickle: it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def message(task: str, body: bytes, content_type: str) -> bytes:
    """A message as it lies in the broker's folder."""
    identifier = str(uuid.uuid4())
    headers = {"lang": "py", "task": task, "id": identifier, "root_id": identifier, "argsrepr": "", "kwargsrepr": ""}
    properties = {
        "correlation_id": identifier,
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": "celery"},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": str(uuid.uuid4()),
    }
    whole = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "binary" if "python" in content_type else "utf-8",
        "content-type": content_type,
        "headers": headers,
        "properties": properties,
    }
    return json.dumps(whole).encode()


@contextlib.contextmanager
def worker(folder: Path) -> Iterator[Path]:
    """A worker on the broker in this folder, as `make run` starts one; yields where it writes its log."""
    log = folder / "log"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "DIGITALME_VAR_DIR": str(folder)}
    environment |= {"REDIS_URL": "", "DATABASE_URL": database_url()}
    command = [sys.executable, "-m", "celery", "-A", "digitalme", "worker", "--pool", "solo", "--without-mingle"]
    with log.open("wb") as written:
        process = subprocess.Popen([*command, "--without-gossip"], env=environment, stdout=written, stderr=written)
    try:
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(log: Path, *words: str) -> str:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        said = log.read_text(errors="replace")
        if all(word in said for word in words):
            return said
        time.sleep(0.05)
    raise AssertionError(log.read_text(errors="replace"))


@pytest.mark.django_db(transaction=True)
def test_a_worker_refuses_pickles_and_drops_what_it_does_not_know(tmp_path: Path) -> None:
    mark, broker = tmp_path / "was-here", tmp_path / "broker"
    broker.mkdir()
    arguments = json.dumps([[], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]).encode()
    sent = [
        message("gateway.sweep_leases", pickle.dumps(Payload(mark)), "application/x-python-serialize"),
        message("gateway.sweep_leases", b"!!python/object/apply:os.mkdir", "application/x-yaml"),
        message("os.system", arguments, "application/json"),
    ]
    for number, one in enumerate(sent):
        (broker / f"{number}_{uuid.uuid4()}.celery.msg").write_bytes(one)
    with worker(tmp_path) as log:
        said = wait_for(log, "x-python-serialize", "x-yaml", "unregistered task")
    assert said.count("Refusing to deserialize") >= 2
    assert "os.system" in said
    assert not mark.exists()
    assert not list(broker.glob("*.msg")), "nothing of it comes back"


@pytest.mark.parametrize("kind", ["x-python-serialize", "x-yaml", "x-msgpack"])
def test_only_json_is_read(kind: str) -> None:
    with pytest.raises(ContentDisallowed):
        loads(b"x", f"application/{kind}", "binary", accept=app.conf.accept_content)  # type: ignore[no-untyped-call]
    assert app.conf.task_serializer == app.conf.event_serializer == "json"
    assert set(app.conf.accept_content) == {"json"}


def test_no_result_is_kept() -> None:
    """A result, or the arguments beside it, would lie in the broker or the database for a day."""
    assert app.conf.result_backend is None
    assert app.conf.task_ignore_result
    assert [task.name for task in ours() if not task.ignore_result] == []


def ours() -> list[Any]:
    app.loader.import_default_modules()
    return [task for name, task in app.tasks.items() if not name.startswith("celery.")]


def test_tasks_take_ids_and_nothing_else() -> None:
    """What a task takes lies in the broker, in the clear."""
    taken = {
        (task.name, name, kind)
        for task in ours()
        for name, kind in task.run.__annotations__.items()
        if name != "return"
    }
    assert ours()
    assert [one for one in taken if not one[1].endswith(("id", "ids", "version", "since"))] == []


def test_the_beat_schedule_names_tasks_that_exist_and_sends_no_arguments() -> None:
    names = {task.name for task in ours()}
    for entry in app.conf.beat_schedule.values():
        assert entry["task"] in names
        assert set(entry) <= {"task", "schedule"}


# --- What must not stand in the product's code -----------------------------------------------------

MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "jsonpickle", "code", "codeop", "pdb"}
CALLS = {"eval", "exec", "compile", "__import__", "breakpoint"}
ATTRIBUTES = {("yaml", "load"), ("yaml", "unsafe_load"), ("yaml", "full_load"), ("os", "system"), ("os", "popen")}


def forbidden(source: str) -> list[str]:
    """Everything in a module that turns data into running code."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [one.name for one in node.names if one.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module] if node.module.split(".")[0] in MODULES else []
            found += [one.name for one in node.names if (node.module, one.name) in ATTRIBUTES]
        elif isinstance(node, ast.Name) and node.id in CALLS:
            found.append(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            pair = (node.value.id, node.attr)
            found += [".".join(pair)] if pair in ATTRIBUTES or pair[0] in {"builtins", "__builtins__"} else []
        elif isinstance(node, ast.keyword) and node.arg == "shell":
            found.append("shell=")
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def late():\n    from pickle import loads",
        "import yaml\nyaml.load(text)",
        "from yaml import unsafe_load",
        "eval(text)",
        "run = exec",
        "__import__(name)",
        "import builtins\nbuiltins.eval(text)",
        "subprocess.run(text, shell=True)",
        "os.system(text)",
    ],
)
def test_what_turns_data_into_code_is_found(source: str) -> None:
    assert forbidden(source)


def test_nothing_in_the_product_turns_data_into_code() -> None:
    assert {name: found for name, file in PRODUCT.items() if (found := forbidden(file.read_text()))} == {}
