"""Rotations that are killed, as a program: `python -m tests.apikeys.rotations KILLS SEED`.

It works on the database of DATABASE_URL with real processes: two rotations at once, of which one or both are killed
at a random moment, while another process replaces keys and reads all of them. It ends with 0 if after every kill
every stored key opens to what was last entered, and the last rotation leaves nothing behind.
"""

import contextlib
import io
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import IO

import django

OWNERS = 12
BATCH = 3


def main(kills: int, seed: int) -> None:
    """Rotate to and fro until as many rotations were killed, then to the end."""
    django.setup()
    from apikeys import masters, resealing, rotation
    from apikeys.models import Credential

    rng = random.Random(seed)  # noqa: S311 (moments of a test)
    masters.verify()
    ids = _people()
    seconds = _one_rotation()
    writer, entered = _writer(ids)
    killed = 0
    while killed < kills:
        masters.refresh()
        if not resealing.target().count():
            rotation.promote("k1" if masters.promoted_id() == "k2" else "k2")
        pair = [_child(_rotate), _child(_rotate)]
        time.sleep(rng.uniform(0, 1.5 * seconds))
        for pid in pair[: rng.choice((1, 2))]:
            os.kill(pid, signal.SIGKILL)
        killed += sum(_end(pid) == -signal.SIGKILL for pid in pair)
        _check_all_open(ids)
    os.kill(writer, signal.SIGTERM)
    if _end(writer):
        sys.exit("A read or a write failed while rotations ran.")
    masters.refresh()
    _rotate()
    entered.seek(0)
    _check_all_open(ids, dict(line.split() for line in entered.read().splitlines()))
    former = "k1" if masters.promoted_id() == "k2" else "k2"
    if Credential.objects.filter(key_id=former).exists():
        sys.exit("The last rotation left something behind.")
    rotation.retire(former)
    sys.stdout.write(f"{killed} rotations were killed; all keys open\n")


def _people() -> list[str]:
    """Make people with a key each, and derive what opens and seals these, so that all children have it."""
    from apikeys import keyring, vault
    from apikeys.models import OwnerSalt
    from digitalme.accounts.models import User

    ids = [str(User.objects.create_user(f"{number}@example.com").pk) for number in range(OWNERS)]
    for user in ids:
        _enter(user, 0)
    for row in OwnerSalt.objects.all():
        for key_id in ("k1", "k2"):
            vault.derived_keys.cipher(keyring.ring(), key_id, vault.PROFILE, row.owner, bytes(row.salt))
    return ids


def _enter(user: str, number: int) -> None:
    from uuid import UUID

    from apikeys import keys
    from providers import registry

    fields = {"api_key": _text(user, number)}
    keys.set_key(actor=None, owner=keys.Owner("user", UUID(user)), provider=registry.get("openai"), fields=fields)


def _text(user: str, number: int) -> str:
    return f"sk-proj-{user}-{number:08d}"


def _check_all_open(ids: list[str], entered: dict[str, str] | None = None) -> None:
    """Read as the gateway does: resolve, then unseal."""
    from uuid import UUID

    from apikeys import resolution
    from digitalme.statements import ask

    found = ask(resolution.resolve([(UUID(user), "openai") for user in ids]))
    if len(found) != len(ids):
        sys.exit("A key is lost.")
    for (user, _), key in found.items():
        text = resolution.unseal(key)["api_key"].reveal()
        if not text.startswith(f"sk-proj-{user}-"):
            sys.exit("A key opens to another one.")
        if entered is not None and text != _text(str(user), int(entered.get(str(user), 0))):
            sys.exit("A change was lost.")


def _rotate() -> None:
    from django.core.management import call_command

    with contextlib.redirect_stdout(io.StringIO()):
        call_command("rotate_master_key", "reseal", batch=BATCH, threads=1)


def _one_rotation() -> float:
    """Return how long a rotation takes that nobody disturbs, in seconds, with what a new process needs."""
    from apikeys import rotation

    rotation.promote("k2")
    began = time.monotonic()
    _end(_child(_rotate))
    return time.monotonic() - began


def _writer(ids: list[str]) -> tuple[int, IO[str]]:
    """Start a process that replaces keys and reads all, until SIGTERM; it notes each change that was stored."""
    entered = tempfile.TemporaryFile("w+")  # noqa: SIM115 (shared with the child until both have ended)

    def write() -> None:
        ended: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
        number = 0
        while not ended:
            number += 1
            user = ids[number % 4]  # the others are touched by rotations alone
            _enter(user, number)
            entered.write(f"{user} {number}\n")
            entered.flush()
            _check_all_open(ids)

    return _child(write), entered


def _child(deed: Callable[[], None]) -> int:
    """Do it in a copy of this process, with connections of its own."""
    from django.db import connections

    connections.close_all()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        deed()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _end(pid: int) -> int:
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
