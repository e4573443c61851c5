"""What an admission takes while 64 callers draw on one limit: `python -m bench.ledger` (--json for programs).

The gateway's own way to the ledger, without HTTP: each caller is admitted, has a provider that takes its time (more or
less by half), settles and comes again. Without that time (--provider-ms 0) the ledger has no pause, and the figure is
its throughput.
DATABASE_URL and the keys are those of the product's process, BENCH_TOKEN is whose calls these are.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
from typing import Any

import django

from bench.load import percentile

CALLERS, SECONDS, PROVIDER_MS = 64, 3.0, 20.0
MOST_MS = 5.0


def main() -> int:
    """Measure, print, and return 1 if the promised figure does not hold."""
    parser = argparse.ArgumentParser(prog="bench.ledger", description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"length of the run ({SECONDS:g})")
    parser.add_argument("--provider-ms", type=float, default=PROVIDER_MS, help=f"how long it takes ({PROVIDER_MS:g})")
    parser.add_argument("--json", action="store_true", help="print the figures alone")
    chosen = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "digitalme.settings")
    django.setup()
    figures = asyncio.run(measure(os.environ["BENCH_TOKEN"], chosen.seconds, chosen.provider_ms / 1000))
    found = verdicts(figures)
    if chosen.json:
        print(json.dumps(figures))
        return 0
    else:
        for holds, sentence in found:
            print(f"  {'holds ' if holds else 'MISSED'}  {sentence}")
    return 0 if all(holds for holds, _ in found) else 1


async def measure(token: str, seconds: float, pause: float) -> dict[str, float]:
    """Return p50 and p95 of an admission in milliseconds, and admissions per second."""
    from digitalme.gateway.runtime import Runtime

    runtime = await Runtime.start()
    took: list[float] = []
    end = time.perf_counter() + seconds
    try:
        await asyncio.gather(*(_caller(runtime, token, end, pause, took) for _ in range(CALLERS)))
    finally:
        await runtime.stop()
    took.sort()
    return {
        "reserve_p50": percentile(took, 0.5) * 1000,
        "reserve_p95": percentile(took, 0.95) * 1000,
        "per_second": len(took) / seconds,
    }


async def _caller(runtime: Any, token: str, end: float, pause: float, took: list[float]) -> None:
    from digitalme.accounts import tokens
    from digitalme.database import uuid7
    from digitalme.gateway.admission import Call
    from digitalme.gateway.settlement import Outcome
    from providers import registry
    from providers.metering import Estimate, Usage

    provider = registry.get("openai")
    operation = provider.match("POST", "/v1/chat/completions")
    digest, estimate = tokens.digest(token), Estimate(1, 120, 256, "gpt-4o-mini", False)
    await runtime.admit(Call(uuid7(), digest, "openai", provider, operation, estimate))  # the row of the period is made
    while (start := time.perf_counter()) < end:
        admitted = await runtime.admit(Call(uuid7(), digest, "openai", provider, operation, estimate))
        took.append(time.perf_counter() - start)
        if pause:
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 (a pause, no secret)
        runtime.settle(Outcome(admitted, "ok", usage=Usage(120, 130)))


def verdicts(figures: dict[str, float]) -> list[tuple[bool, str]]:
    """Return whether the promised figure holds."""
    p95 = figures["reserve_p95"]
    sentence = f"reserve at c={CALLERS} with one hot limit, p95: {p95:.2f} ms (below {MOST_MS:g})"
    return [(p95 < MOST_MS, f"{sentence}, {figures['per_second']:,.0f} a second")]


if __name__ == "__main__":
    sys.exit(main())
