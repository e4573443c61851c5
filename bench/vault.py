"""What the encryption of keys costs: `python -m bench.vault` (--json for programs).

Warm is an open with the owner's derived key at hand, cold the first one of an owner in a process. The crowd is 500
cold owners at once, as the gateway opens them, beside opens of a warm one every 2 ms: by how much do these come later?
"""

import argparse
import asyncio
import importlib
import json
import os
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import django

from bench.load import percentile

WARM_OPENS, COLD_OPENS, CROWD, CACHED = 20_000, 100, 500, 1_000
TICK_SECONDS = 0.002
ROUNDS = 3


def main() -> int:
    """Measure, print, and return 1 if a promised figure does not hold."""
    parser = argparse.ArgumentParser(prog="bench.vault", description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="the figures are medians over these (3)")
    parser.add_argument("--json", action="store_true", help="print the figures alone")
    chosen = parser.parse_args()
    figures = measure(chosen.rounds)
    found = verdicts(figures)
    if chosen.json:
        print(json.dumps(figures))
    else:
        for holds, sentence in found:
            print(f"  {'holds ' if holds else 'MISSED'}  {sentence}")
    return 0 if all(holds for holds, _ in found) else 1


def measure(rounds: int) -> dict[str, float]:
    """Return the medians of all figures; times in milliseconds, memory in megabytes."""
    memory = _megabytes_of_the_libraries()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "digitalme.settings")
    django.setup()
    runs = [{**_warm(), **_cold(), **asyncio.run(_crowd())} for _ in range(rounds)]
    figures = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    return {**figures, "megabytes": memory + _megabytes_of_cached_owners()}


def verdicts(figures: dict[str, float]) -> list[tuple[bool, str]]:
    """Return which of the promised figures hold."""
    limits = [
        ("warm_p50", 0.05, "warm open, p50", "ms"),
        ("warm_p99", 1.0, "warm open, p99", "ms"),
        ("cold_p99", 150.0, "cold open, p99", "ms"),
        ("crowd_p99", 50.0, f"{CROWD} cold owners at once: warm calls come later by, p99", "ms"),
        ("megabytes", 50.0, f"memory with {CACHED:,} owners at hand", "MB"),
    ]
    return [
        (figures[name] < most, f"{what}: {figures[name]:.3g} {unit} (below {most:g})")
        for name, most, what, unit in limits
    ]


def _sealed(owner: str) -> tuple[bytes, Any, bytes]:
    """Return a sealed key of a new owner, whose derived key is at hand, with context and salt."""
    from apikeys import vault
    from providers.secrets import Secret

    salt = os.urandom(32)
    context = vault.Context(owner, "openai", "api_key", uuid.uuid4(), 1, ("https://api.openai.com",))
    return vault.seal(Secret("sk-" + "b" * 48), context, salt), context, salt


def _timed(deeds: Sequence[Callable[[], object]]) -> list[float]:
    took = []
    for deed in deeds:
        start = time.perf_counter()
        deed()
        took.append((time.perf_counter() - start) * 1e3)
    return took


def _warm() -> dict[str, float]:
    from apikeys import vault

    sealed = _sealed("user:warm")
    took = _timed([lambda: vault.open(*sealed)] * WARM_OPENS)
    return {"warm_p50": percentile(sorted(took), 0.5), "warm_p99": percentile(sorted(took), 0.99)}


def _cold() -> dict[str, float]:
    from apikeys import vault

    sealed = _sealed("user:cold")

    def first() -> None:
        vault.derived_keys.clear()
        vault.open(*sealed)

    return {"cold_p99": percentile(sorted(_timed([first] * COLD_OPENS)), 0.99)}


async def _crowd() -> dict[str, float]:
    """Return by how much warm calls are later while a crowd of cold owners is opened."""
    from apikeys import resolution, vault

    warm = _sealed("user:warm")
    calm = await _lateness(warm, time.perf_counter() + 1)
    vault.derived_keys.clear()
    vault.open(*warm)
    owners = [(f"user:{number}", os.urandom(32)) for number in range(CROWD)]
    crowd = asyncio.gather(*(resolution.aside(vault.warm_up, owner, salt) for owner, salt in owners))
    busy = await _lateness(warm, None, crowd)
    return {"crowd_p99": max(0.0, percentile(sorted(busy), 0.99) - percentile(sorted(calm), 0.5))}


async def _lateness(sealed: tuple[bytes, Any, bytes], until: float | None, crowd: Any = None) -> list[float]:
    """Open a warm key at every tick and return how many milliseconds after its tick each was open."""
    from apikeys import vault

    late = []
    while not crowd.done() if crowd else time.perf_counter() < (until or 0):
        due = time.perf_counter() + TICK_SECONDS
        await asyncio.sleep(TICK_SECONDS)
        vault.open(*sealed)
        late.append((time.perf_counter() - due) * 1e3)
    return late


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _megabytes_of_the_libraries() -> float:
    """Return what importing the cryptography takes."""
    before = _resident()
    for name in ("ciphers.aead", "kdf.hkdf", "kdf.pbkdf2"):
        importlib.import_module(f"cryptography.hazmat.primitives.{name}")
    return _resident() - before


def _megabytes_of_cached_owners() -> float:
    """Return what a full cache of derived keys takes; they are random here, since deriving adds nothing to keep."""
    from apikeys import keyring, vault

    ring, keys = keyring.ring(), vault.DerivedKeys()
    vault._derive = lambda *_: os.urandom(vault.KEY_BYTES)
    before = _resident()
    for number in range(CACHED):
        keys.cipher(ring, ring.sealing_id, vault.PROFILE, f"user:{uuid.UUID(int=number)}", os.urandom(32))
    return _resident() - before


if __name__ == "__main__":
    sys.exit(main())
