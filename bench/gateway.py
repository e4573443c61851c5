"""The gateway beside a direct call and nginx, in one interleaved run: `make bench`.

PostgreSQL, nginx, the provider, the load and the product share this machine; so read the ratios, not the
absolute figures. Every figure is the median of the rounds.
"""

import argparse
import contextlib
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench import ledger, load, processes, rotation, stage, vault
from bench.stage import Place
from tests import servers

SETTLE_SECONDS = 0.5  # what is put off until after the answer is counted too
PROMPT = "Explain why a hold is placed before the call and replaced after it. " * 7


@dataclass(frozen=True)
class Figures:
    """One run, or the median of several."""

    rate: float
    p50: float
    p99: float
    first_p50: float
    first_p99: float
    cpu: float  # seconds per 1,000 calls
    database_cpu: float
    megabytes: float
    errors: int


def target(place: Place, *, stream: bool) -> load.Target:
    """Return the call to send to a place: about 700 bytes."""
    wanted: dict[str, object] = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": 256,
        "temperature": 0.2,
    }
    if stream:
        wanted |= {"stream": True, "stream_options": {"include_usage": True}}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {place.token or 'sk-direct'}"}
    return load.Target(place.port, f"{place.prefix}/v1/chat/completions", headers, json.dumps(wanted).encode())


def measure(place: Place, connections: int, seconds: float, *, stream: bool) -> Figures:
    """Load one place and return its figures; raises RuntimeError if nothing came back."""
    drive = load.drive_with_wrk if load.best_driver(streams=stream) == "wrk" else load.drive
    before, before_database = _seconds(place.pid), _seconds(place.database_pid)
    seen = drive(target(place, stream=stream), connections, seconds)
    time.sleep(SETTLE_SECONDS)
    if not seen.calls:
        raise RuntimeError(f"{place.name} answered no call; the first answer was:\n{seen.sample}")
    per_thousand = 1000 / seen.calls
    return Figures(
        rate=seen.rate,
        p50=seen.p50,
        p99=seen.p99,
        first_p50=seen.first_p50,
        first_p99=seen.first_p99,
        cpu=(_seconds(place.pid) - before) * per_thousand,
        database_cpu=(_seconds(place.database_pid) - before_database) * per_thousand,
        megabytes=processes.cost(place.pid).megabytes if place.pid else math.nan,
        errors=seen.errors,
    )


def _seconds(pid: int) -> float:
    return processes.cost(pid).seconds if pid else 0.0


def median(runs: Sequence[Figures]) -> Figures:
    """Return the median of each figure; errors are added up."""

    def middle(read: Callable[[Figures], float]) -> float:
        return statistics.median(read(run) for run in runs)

    return Figures(
        rate=middle(lambda run: run.rate),
        p50=middle(lambda run: run.p50),
        p99=middle(lambda run: run.p99),
        first_p50=middle(lambda run: run.first_p50),
        first_p99=middle(lambda run: run.first_p99),
        cpu=middle(lambda run: run.cpu),
        database_cpu=middle(lambda run: run.database_cpu),
        megabytes=middle(lambda run: run.megabytes),
        errors=sum(run.errors for run in runs),
    )


Table = dict[tuple[str, int], Figures]


def interleaved(
    places: Sequence[Place], connections: Sequence[int], rounds: int, seconds: float, *, stream: bool
) -> Table:
    """Measure every place at every number of connections, in turns, so that a busy moment hits all alike."""
    for place in places:
        measure(place, max(connections), min(seconds, 2.0), stream=stream)  # warms caches and connections
    runs: dict[tuple[str, int], list[Figures]] = {}
    for turn in range(rounds):
        for count in connections:
            for place in places:
                _progress(f"round {turn + 1} of {rounds}, c={count}, {place.name}{', streams' if stream else ''}")
                runs.setdefault((place.name, count), []).append(measure(place, count, seconds, stream=stream))
    _progress("")
    return {key: median(found) for key, found in runs.items()}


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def print_table(title: str, table: Table, *, stream: bool) -> None:
    """Print one line for each place and number of connections."""
    print(f"\n{title}")
    what = ("first p50 ms", "first p99 ms") if stream else ("p50 ms", "p99 ms")
    print(
        f"  {'':<10} {'c':>3} {'calls/s':>9} {what[0]:>13} {what[1]:>13} {'CPU s/1000':>11} {'+ database':>11}"
        f" {'MB':>6} {'of nginx':>9} {'errors':>7}"
    )
    for (name, count), row in table.items():
        beside = table.get(("nginx", count))
        share = f"{row.rate / beside.rate:.3f}" if beside else "-"
        memory = "-" if math.isnan(row.megabytes) else f"{row.megabytes:.0f}"
        first, last = (row.first_p50, row.first_p99) if stream else (row.p50, row.p99)
        print(
            f"  {name:<10} {count:>3} {row.rate:>9,.0f} {first:>13.2f} {last:>13.2f} {row.cpu:>11.3f}"
            f" {row.database_cpu:>11.3f} {memory:>6} {share:>9} {row.errors:>7}"
        )


def verdicts(plain: Table, sealing: dict[str, float]) -> list[tuple[bool, str]]:
    """Return which of the promised figures hold; those that need nginx only where it ran."""
    ours, calm, direct = plain["digitalme", 64], plain["digitalme", 1], plain["direct", 1]
    found = [
        (ours.cpu <= 0.6, f"CPU per 1,000 calls at c=64: {ours.cpu:.3f} s (at most 0.6)"),
        (calm.p50 - direct.p50 <= 2.0, f"added p50 at c=1: {calm.p50 - direct.p50:.2f} ms (at most 2)"),
        (ours.megabytes < 150, f"memory of the web process: {ours.megabytes:.0f} MB (below 150)"),
        (not any(row.errors for row in plain.values()), "no call failed"),
        *vault.verdicts(sealing),
    ]
    if beside := plain.get(("nginx", 64)):
        share = ours.rate / beside.rate
        found.insert(0, (share >= 1 / 25, f"throughput at c=64: 1/{1 / share:.1f} of nginx's (at least 1/25)"))
    return found


def run(chosen: argparse.Namespace) -> int:
    """Start everything, measure, print; return 1 if a promised figure does not hold."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(stage.folder())
        direct = stack.enter_context(stage.upstream(folder))
        proxy = stack.enter_context(stage.nginx(folder, direct.port))
        database = stack.enter_context(servers.postgres(durable=True))
        environ = stage.product_environment(folder, database, direct.port)
        token = stage.furnish(environ, own_key=chosen.key == "own")
        ours = stack.enter_context(stage.product(folder, environ, token))
        places = [place for place in (direct, proxy, ours) if place]
        plain = interleaved(places, (1, 16, 64), chosen.rounds, chosen.seconds, stream=False)
        streams = interleaved(places, (1, 64), chosen.rounds, max(chosen.seconds, 2.0), stream=True)
        sealing = json.loads(_output(["-m", "bench.vault", "--json"], environ))
        rotated = json.loads(_output(["-m", "bench.rotation", "--json", "--keys", str(chosen.rotated)], environ))
        print_table(f"Plain calls (driven by {load.best_driver(streams=False)})", plain, stream=False)
        print_table("Streams of 54 events, 10 ms apart (driven by asyncio)", streams, stream=True)
        hot = json.loads(_output(["-m", "bench.ledger", "--json"], environ | {"BENCH_TOKEN": token}))
        exact = stage.manage(environ, "check_ledger")
        log = (folder / "web.log").read_text(errors="replace")
    if proxy is None:
        print("\nnginx is not installed: no ratio to it.")
    print()
    found = [
        *verdicts(plain, sealing),
        *rotation.verdicts(rotated),
        *ledger.verdicts(hot),
        (not log, "the server logged no warning"),
    ]
    for holds, sentence in found:
        print(f"  {'holds ' if holds else 'MISSED'}  {sentence}")
    print(f"  ledger  {exact or 'exact'}")
    if log:
        print(log[-3000:])
    return 0 if all(holds for holds, _ in found) else 1


def _output(arguments: list[str], environ: dict[str, str]) -> str:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=stage.ROOT, env=environ, check=True, capture_output=True, text=True).stdout  # noqa: S603


def main() -> int:
    """Read what was chosen and run."""
    parser = argparse.ArgumentParser(prog="bench.gateway", description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="the figures are medians over these (3)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one run (3)")
    parser.add_argument(
        "--rotated", type=int, default=rotation.KEYS, help=f"keys sealed anew with another master ({rotation.KEYS})"
    )
    parser.add_argument("--key", choices=("own", "house"), default="own", help="whose key pays (own)")
    if reason := servers.postgres_missing():
        print(f"{reason}: the figures are of the ledger on PostgreSQL.")
        return 1
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
