"""What a record keeps of a usage is enough to price it again."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import counts
from providers.counts import Usage

COLUMNS = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens", "model")
numbers = st.integers(0, counts.MAX_COUNT)


@given(
    st.builds(
        Usage,
        numbers,
        numbers,
        model=st.text(),
        cache_write_1h_tokens=numbers,
        web_searches=numbers,
        variant=st.sampled_from(["", "service_tier=flex", "speed=fast", "processing=batch"]),
        units=numbers,
        audio_tokens=numbers,
        image_made=numbers,
        characters=numbers,
        seconds=st.decimals(0, 10**6, places=3),
        untold=st.booleans(),
    )
)
def test_what_is_written_down_gives_the_usage_back(usage: Usage) -> None:
    columns = {name: getattr(usage, name) for name in COLUMNS}
    assert counts.restored(counts.measured(usage), **columns) == usage


@pytest.mark.parametrize("usage", [Usage(0, 0), Usage(21, 9, 5, 2, 3, "gpt-4o-mini")])
def test_of_most_calls_nothing_further_is_written(usage: Usage) -> None:
    assert counts.measured(usage) == ""


def test_what_is_written_is_short() -> None:
    written = counts.measured(Usage(1, 1, web_searches=2, seconds=Decimal("1.500")))
    assert written == '{"web_searches":2,"seconds":"1.500"}'
