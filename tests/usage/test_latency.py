"""Percentiles out of counts: as near to the true ones as is promised."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage import latency

pytestmark = pytest.mark.once
TIMES = st.lists(st.integers(0, 1_000_000), min_size=1, max_size=200)


def counts_of(times: list[int]) -> list[int]:
    counts = [0] * len(latency.COLUMNS)
    for one in times:
        counts[sum(one >= bound for bound in latency.BOUNDS)] += 1
    return counts


@given(TIMES, st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_percentile_is_off_by_a_factor_of_the_ratio_at_most(times: list[int], share: float) -> None:
    told, exact = latency.percentile(counts_of(times), share), sorted(times)[math.ceil(share * len(times)) - 1]
    assert told is not None
    if exact >= latency.BOUNDS[-1]:
        assert told == latency.BOUNDS[-1]
    elif exact < latency.BOUNDS[0]:
        assert 0 <= told <= latency.BOUNDS[0]
    else:
        # Bounds are whole milliseconds: the widest range is a little wider than the ratio.
        assert told / exact <= latency.RATIO * 1.02
        assert exact / told <= latency.RATIO * 1.02


@given(TIMES, TIMES)
def test_counts_of_two_spans_add_up_to_those_of_both(one: list[int], other: list[int]) -> None:
    added = [a + b for a, b in zip(counts_of(one), counts_of(other), strict=True)]
    assert added == counts_of(one + other)


def test_nothing_has_no_percentile() -> None:
    assert latency.percentile([0] * len(latency.COLUMNS), 0.5) is None
