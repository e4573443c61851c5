"""How long a change of the master key takes, with PostgreSQL, while another process reads keys all the time.

`python -m bench.rotation` (--json for programs). Each key belongs to an owner of its own, which is the dearest case:
two derivations a key. The work grows with the number of keys, so fewer than 10,000 tell how long these would take.
"""

import argparse
import base64
import json
import os
import random
import select
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import django

from bench import stage
from tests import servers

if TYPE_CHECKING:
    from apikeys.models import Credential, OwnerSalt
    from digitalme.accounts.models import User

KEYS, PROMISED_KEYS, PROMISED_MINUTES = 2_000, 10_000, 10
READS_A_SECOND = 20


def main() -> int:
    """Measure, print, and return 1 if the promise does not hold."""
    parser = argparse.ArgumentParser(prog="bench.rotation", description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--keys", type=int, default=KEYS, help=f"how many are sealed anew ({KEYS})")
    parser.add_argument("--json", action="store_true", help="print the figures alone")
    parser.add_argument("--seed", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--read", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.seed or chosen.read:
        django.setup()
        return _seed(chosen.keys) if chosen.seed else _read()
    if reason := servers.postgres_missing():
        print(f"{reason}: the figures are of a rotation on PostgreSQL.")
        return 1
    figures = measure(chosen.keys)
    found = verdicts(figures)
    if chosen.json:
        print(json.dumps(figures))
        return 0
    for holds, sentence in found:
        print(f"  {'holds ' if holds else 'MISSED'}  {sentence}")
    return 0 if all(holds for holds, _ in found) else 1


def measure(keys: int) -> dict[str, float]:
    """Return how many keys were sealed anew in how many seconds, and how many reads meanwhile, and failed ones."""
    with stage.folder() as folder, servers.postgres(durable=True) as database:
        return _measured(keys, folder, database)


def verdicts(figures: dict[str, float]) -> list[tuple[bool, str]]:
    """Return whether the promise holds."""
    minutes = figures["seconds"] / figures["keys"] * PROMISED_KEYS / 60
    pace = f"{figures['keys']:,.0f} keys sealed anew in {figures['seconds']:.0f} s"
    reads = f"{figures['reads']:,.0f} reads meanwhile, {figures['failed']:.0f} of them failed"
    return [
        (
            minutes < PROMISED_MINUTES,
            f"{pace}: {PROMISED_KEYS:,} in {minutes:.1f} min (below {PROMISED_MINUTES})",
        ),
        (figures["failed"] == 0 < figures["reads"], f"{reads} (none)"),
        (figures["left"] == 0, f"{figures['left']:.0f} keys left with the former master (none)"),
    ]


def _measured(keys: int, folder: Path, database: str) -> dict[str, float]:
    environ = stage.product_environment(folder, database, 9) | {"DJANGO_SETTINGS_MODULE": "digitalme.settings"}
    former = environ["DIGITALME_MASTER_KEYS"]
    stage.manage(environ, "prepare")
    new = stage.manage(environ, "generate_master_key", "--id", "anew")
    environ["DIGITALME_MASTER_KEYS"] = f"{former},{new}"
    program = [sys.executable, "-m", "bench.rotation", "--keys", str(keys)]
    subprocess.run([*program, "--seed"], cwd=stage.ROOT, env=environ, check=True)  # noqa: S603
    with subprocess.Popen(  # noqa: S603
        [*program, "--read"], cwd=stage.ROOT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        stage.manage(environ, "rotate_master_key", "promote", "anew")
        began = time.perf_counter()
        stage.manage(environ, "rotate_master_key", "reseal")
        seconds = time.perf_counter() - began
        seen, _ = reader.communicate("")
    status = stage.manage(environ, "rotate_master_key", "status")
    left = next(int(line.split()[-3]) for line in status.splitlines() if line.split()[:1] == ["bench"])
    return {"keys": keys, "seconds": seconds, "left": left, **json.loads(seen)}


def _seed(keys: int) -> int:
    """Give so many people a key each."""
    from apikeys import masters, vault
    from apikeys.models import Credential, OwnerSalt
    from digitalme.accounts.models import User

    masters.verify()
    people = User.objects.bulk_create([User(email=f"{number}@example.com") for number in range(keys)])
    salts = OwnerSalt.objects.bulk_create([OwnerSalt(owner=f"user:{one.pk}", salt=vault.new_salt()) for one in people])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        Credential.objects.bulk_create(list(pool.map(_credential, people, salts)), batch_size=1000)
    return 0


def _credential(person: "User", salt: "OwnerSalt") -> "Credential":
    from apikeys import keyring, vault
    from apikeys.models import Credential
    from providers import registry
    from providers.secrets import Secret

    provider, ring = registry.get("openai"), keyring.ring()
    row = Credential(user=person, provider="openai", salt=salt, destination=list(provider.destination))
    secret = Secret(f"sk-{person.pk}")
    context = vault.Context(salt.owner, "openai", "api_key", row.id, row.version, provider.destination)
    row.sealed = {"api_key": base64.b64encode(vault.seal(secret, context, bytes(salt.salt))).decode()}
    row.key_id, row.fingerprint_key_id = ring.sealing_id, ring.fingerprint_id
    row.fingerprint = vault.fingerprint(f"owner:{salt.owner}", "openai", secret)
    return row


def _read() -> int:
    """Open random people's keys, as the gateway does, until standard input ends; print how many and how many failed."""
    from apikeys import masters, resolution
    from digitalme.accounts.models import User
    from digitalme.statements import ask

    masters.verify()
    people = list(User.objects.values_list("pk", flat=True))
    rng = random.Random(1)  # noqa: S311 (whom to read)
    reads = failed = 0
    while not select.select([sys.stdin], [], [], 1 / READS_A_SECOND)[0]:
        wanted = (rng.choice(people), "openai")
        try:
            resolution.unseal(ask(resolution.resolve([wanted]))[wanted])
        except Exception:
            failed += 1
        reads += 1
    print(json.dumps({"reads": reads, "failed": failed}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
