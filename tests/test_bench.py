"""The measuring tools measure what they say."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from bench import gateway, ledger, load, processes, rotation, stage, vault
from bench.stage import Place

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with stage.upstream(tmp_path_factory.mktemp("bench")) as place:
        yield place


def ask(provider: Place, *, stream: bool) -> requests.Response:
    body = {"model": "gpt-4o-mini", "messages": [], "stream": stream}
    return requests.post(f"http://127.0.0.1:{provider.port}/v1/chat/completions", json=body, timeout=10)


def test_the_fake_provider_answers_as_openai_does(provider: Place) -> None:
    answer = ask(provider, stream=False).json()
    assert answer["object"] == "chat.completion"
    assert answer["usage"]["total_tokens"] == 250


def test_the_fake_provider_streams_events_with_usage_before_the_end(provider: Place) -> None:
    events = [line.removeprefix("data: ") for line in ask(provider, stream=True).text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["usage"]["total_tokens"] == 250
    assert len(events) == 54


@pytest.mark.parametrize("stream", [False, True])
def test_load_counts_every_answer_and_no_error(provider: Place, stream: bool) -> None:
    seen = load.drive(gateway.target(provider, stream=stream), connections=4, seconds=0.3)
    assert seen.calls >= 4
    assert seen.errors == 0
    assert 0 < seen.first_p50 <= seen.p50 <= seen.p99


def test_load_counts_refusals_as_errors_and_shows_one(tmp_path: Path) -> None:
    with stage.upstream(tmp_path) as place, stage.nginx(tmp_path, behind=1) as proxy:
        if proxy is None:
            pytest.skip("nginx is not installed")
        seen = load.drive(gateway.target(proxy, stream=False), connections=2, seconds=0.2)
        assert place.port
    assert seen.calls == 0
    assert seen.errors > 0
    assert "502" in seen.sample


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.5, 3.0), (0.99, 5.0), (1.0, 5.0)])
def test_a_percentile_is_one_of_the_values(share: float, expected: float) -> None:
    assert load.percentile([1.0, 2.0, 3.0, 4.0, 5.0], share) == expected


def test_a_percentile_of_nothing_is_no_number() -> None:
    assert math.isnan(load.percentile([], 0.5))


def test_the_cost_of_a_process_includes_its_children() -> None:
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'sum(range(10**7)); input()'])"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as process:
        while processes.cost(process.pid).seconds < 0.05:
            os.sched_yield()
        assert processes.cost(process.pid).megabytes > 5
        process.communicate(b"\n")


def figures(
    rate: float, cpu: float = 0.1, p50: float = 1.0, megabytes: float = 90.0, errors: int = 0
) -> gateway.Figures:
    return gateway.Figures(rate, p50, 2.0, 1.0, 2.0, cpu, 0.1, megabytes, errors)


SEALING = {"warm_p50": 0.01, "warm_p99": 0.02, "cold_p99": 16.0, "crowd_p99": 60.0, "megabytes": 12.0}


def test_a_promise_that_is_missed_is_said() -> None:
    table = {("direct", 1): figures(9000, p50=0.1), ("digitalme", 1): figures(500, p50=2.2)}
    table |= {("nginx", 64): figures(30_000), ("digitalme", 64): figures(1000, cpu=0.7)}
    verdicts = gateway.verdicts(table, SEALING)
    missed = [sentence for holds, sentence in verdicts if not holds]
    assert [sentence.split(":")[0] for sentence in missed] == [
        "throughput at c=64",
        "CPU per 1,000 calls at c=64",
        "added p50 at c=1",
        "500 cold owners at once",
    ]


def test_the_promises_of_the_vault_are_its_own() -> None:
    assert [holds for holds, _ in vault.verdicts(SEALING)] == [True, True, True, False, True]


def test_figures_are_medians_but_errors_add_up() -> None:
    middle = gateway.median([figures(1, errors=1), figures(9, errors=2), figures(5)])
    assert (middle.rate, middle.errors) == (5, 3)


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({}, []),
        ({"seconds": 61}, ["1,000 keys sealed anew in 61 s"]),
        ({"failed": 1}, ["9 reads meanwhile, 1 of them failed (none)"]),
        ({"reads": 0}, ["0 reads meanwhile, 0 of them failed (none)"]),
        ({"left": 3}, ["3 keys left with the former master (none)"]),
    ],
)
def test_a_rotation_that_is_slow_or_loses_something_is_said(change: dict[str, float], missed: list[str]) -> None:
    seen: dict[str, float] = {"keys": 1000, "seconds": 59, "reads": 9, "failed": 0, "left": 0} | change
    assert [sentence.split(":")[0] for holds, sentence in rotation.verdicts(seen) if not holds] == missed


@pytest.mark.parametrize(("p95", "holds"), [(4.9, True), (5.0, False)])
def test_the_promise_on_admissions_is_below_five_milliseconds(p95: float, holds: bool) -> None:
    ((kept, sentence),) = ledger.verdicts({"reserve_p50": 2.0, "reserve_p95": p95, "per_second": 2_500.0})
    assert kept is holds
    assert "one hot limit" in sentence
