"""Pages, exports and sums with millions of calls on PostgreSQL: `python -m bench.data` (--json for programs).

Makes the calls on the server itself, a month at a time, sums them up as the product does, then asks for pages, exports
and an hour with very many calls. With DATABASE_URL the database there is filled, which must be empty, and stays;
without it a server is started and thrown away.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import django

from bench import stage
from bench.load import percentile
from tests import servers

RECORDS, DAYS, PEOPLE, BUSY_HOUR, ASKED = 10_000_000, 30, 200, 500_000, 40
PAGE_MS, QUERY_MS, ROWS_A_SECOND, HOUR_SECONDS = 200, 100, 20_000, 30
EXPORTED = 1_000_000
PAGES = ("/settings/usage/", "/settings/usage/limits/", "/")
HOUSE = ("/admin/usage/houseusage/", "/admin/usage/usagerecord/")

# Half of the people make seven eighths of the calls. Ids are UUIDs of version 7, as the product makes them.
_MAKE = """
INSERT INTO usage_usagerecord (request_id, user_id, team_id, token_id, credential_id, key_source, provider, operation,
    model, input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, measured, cost,
    price_version, counted_by, status, error_type, http_status, response_ms, first_byte_ms, tag, "timestamp",
    allocations, charged_requests, charged_tokens, charged_cost)
SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(noise, 1, 3) || '8'
        || substr(noise, 4, 15))::uuid,
    who, NULL, who, NULL, CASE WHEN luck < 0.7 THEN 'user' ELSE 'system' END,
    CASE WHEN luck < 0.6 THEN 'openai' ELSE 'anthropic' END, 'chat',
    CASE WHEN luck < 0.4 THEN 'gpt-4o-mini' WHEN luck < 0.6 THEN 'gpt-4o' ELSE 'claude-sonnet-4-5' END,
    (luck * 4000)::int, (luck * 900)::int, 0, 0, 0, '', (luck * 9000000)::bigint,
    'bench', 'provider', CASE WHEN luck < 0.98 THEN 'ok' ELSE 'failed' END, '', 200, (luck * 3000)::int,
    (luck * 300)::int, CASE WHEN luck < 0.2 THEN 'nightly' ELSE '' END, at, '[]', 1, (luck * 4900)::int,
    (luck * 9000000)::bigint
FROM (
    SELECT %(start)s::timestamptz + %(seconds)s * random() * interval '1 second' AS at, random() AS luck,
        (%(people)s::uuid[])[1 + floor(power(random(), 3) * cardinality(%(people)s::uuid[]))::int] AS who,
        md5(random()::text || number) AS noise
    FROM generate_series(1, %(count)s) AS number
) AS made
"""


def main() -> int:
    """Measure, print, and return 1 if a promised figure does not hold."""
    parser = argparse.ArgumentParser(prog="bench.data", description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--records", type=int, default=RECORDS, help=f"how many calls ({RECORDS:,})")
    parser.add_argument("--busy-hour", type=int, default=BUSY_HOUR, help=f"calls in the one hour ({BUSY_HOUR:,})")
    parser.add_argument("--json", action="store_true", help="print the figures alone")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.inside:
        django.setup()
        print(json.dumps(measure(chosen.records, chosen.busy_hour)))
        return 0
    given = os.environ.get("DATABASE_URL", "")
    if reason := not given and servers.postgres_missing():
        print(f"{reason}: the figures are of PostgreSQL.")
        return 1
    with stage.folder() as folder, nullcontext(given) if given else servers.postgres(durable=True) as database:
        environ = stage.product_environment(folder, database, 9) | {"DJANGO_SETTINGS_MODULE": "digitalme.settings"}
        stage.manage(environ, "prepare")
        command = [sys.executable, "-m", "bench.data", "--inside", f"--records={chosen.records}"]
        command.append(f"--busy-hour={chosen.busy_hour}")
        done = subprocess.run(command, cwd=stage.ROOT, env=environ, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    figures = json.loads(done.stdout)
    if chosen.json:
        print(json.dumps(figures))
        return 0
    found = verdicts(figures)
    for holds, sentence in found:
        print(f"  {'holds ' if holds else 'MISSED'}  {sentence}")
    return 0 if all(holds for holds, _ in found) else 1


def verdicts(figures: dict[str, Any]) -> list[tuple[bool, str]]:
    """Return which of the promised figures hold, page by page."""
    amount = f"with {figures['records']:,} calls"
    found = []
    for path, (p95, query) in figures["pages"].items():
        found.append((p95 < PAGE_MS, f"{path} {amount}, p95: {p95:.0f} ms of server time (below {PAGE_MS})"))
        found.append((query < QUERY_MS, f"{path} {amount}, slowest query: {query:.0f} ms (below {QUERY_MS})"))
    pace, grown = figures["export_rows_a_second"], figures["export_grew_mb"]
    found.append((pace >= ROWS_A_SECOND, f"an export: {pace:,.0f} rows a second (at least {ROWS_A_SECOND:,})"))
    found.append((grown < 50, f"an export of {figures['exported']:,} rows took {grown:.0f} MB more memory (below 50)"))
    hour = figures["hour_seconds"]
    found.append((hour < HOUR_SECONDS, f"an hour with {figures['busy_hour']:,} calls summed up in {hour:.1f} s (30)"))
    return found


def measure(records: int, busy_hour: int) -> dict[str, Any]:
    """Fill the database and return the figures: milliseconds by page, rows a second, seconds."""
    from usage import rollups

    now = datetime.now(UTC)
    hour = rollups.hour_of(now) - timedelta(hours=2)
    people = _people()
    seconds = _timed(lambda: _fill(records, people, hour))
    _say(f"{records:,} calls made in {seconds:.0f} s")
    seconds = _timed(lambda: _sum_up(hour + rollups.GRACE))
    _say(f"summed up in {seconds:.0f} s")
    _make(busy_hour, people, hour, timedelta(hours=1))
    _run("ANALYZE")
    hour_seconds = _timed(lambda: rollups.roll_up(now=hour + timedelta(hours=1, minutes=11)))
    _say(f"the hour summed up in {hour_seconds:.1f} s")
    return {
        "records": records + busy_hour,
        "busy_hour": busy_hour,
        "hour_seconds": hour_seconds,
        "pages": _pages(people),
        **_export(people[0]),
    }


def _people() -> list[Any]:
    """Make people, the first of them a member of staff, and return their ids: who comes first calls most."""
    from digitalme.accounts.models import User

    staff = User.objects.create_superuser("bench@example.com", "correct horse battery staple")
    others = User.objects.bulk_create([User(email=f"{number}@example.com") for number in range(PEOPLE - 1)])
    return [staff.pk, *(one.pk for one in others)]


def _fill(records: int, people: list[Any], until: datetime) -> None:
    from django.db import transaction

    from usage import partitions

    step = timedelta(days=10)
    for part in range(DAYS // step.days):
        start = until - timedelta(days=DAYS) + part * step
        for moment in (start, start + step):
            with transaction.atomic():
                partitions.make(partitions.Month.of(moment))
        _make(records * step.days // DAYS, people, start, step)
    _run("VACUUM ANALYZE usage_usagerecord")


def _make(count: int, people: list[Any], start: datetime, span: timedelta) -> None:
    given = {"count": count, "people": [str(one) for one in people], "start": start, "seconds": span.total_seconds()}
    _run(_MAKE, given)


def _sum_up(now: datetime) -> None:
    from usage import rollups

    while rollups.roll_up(now=now):
        pass
    _run("VACUUM ANALYZE")


def _pages(people: list[Any]) -> dict[str, tuple[float, float]]:
    """Return for each page p95 of its server time and its slowest query, in milliseconds."""
    rng = random.Random(1)  # noqa: S311 (whose pages, no secret)
    figures = {}
    for path in (*PAGES, *HOUSE):
        asking = [people[0] if path in HOUSE or number % 2 else rng.choice(people) for number in range(ASKED)]
        seen = [_page(path, one) for one in asking]
        figures[path] = percentile(sorted(took for took, _ in seen), 0.95), max(slowest for _, slowest in seen)
        _say(f"{path}: {figures[path]}")
    return figures


def _page(path: str, person: Any) -> tuple[float, float]:
    """Return what a page took, and its slowest query, in milliseconds, in a process that showed it before."""
    from django.db import connection
    from django.test import Client

    from digitalme.accounts.models import User

    queries = []

    def watch(execute: Callable[..., Any], *arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return execute(*arguments)
        finally:
            queries.append((time.perf_counter() - began) * 1000)

    client = Client(headers={"host": "127.0.0.1"})
    client.force_login(User.objects.get(pk=person))
    client.get(path)
    with connection.execute_wrapper(watch):
        began = time.perf_counter()
        answer = client.get(path)
        took = (time.perf_counter() - began) * 1000
    if answer.status_code != 200:
        raise RuntimeError(f"{path} answers {answer.status_code}.")
    return took, max(queries)


def _export(person: Any) -> dict[str, Any]:
    from usage import exports

    form, wanted = exports.Format.CSV, exports.Selection(user_id=person)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows, began = 0, time.perf_counter()
    for page in exports.pages(wanted):
        exports.body(form, page, first=not rows)
        rows += len(page)
        if rows >= EXPORTED:
            break
    seconds = time.perf_counter() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"exported": rows, "export_rows_a_second": rows / seconds, "export_grew_mb": grown}


def _run(statement: str, values: dict[str, Any] | None = None) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def _timed(deed: Callable[[], Any]) -> float:
    began = time.perf_counter()
    deed()
    return time.perf_counter() - began


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
