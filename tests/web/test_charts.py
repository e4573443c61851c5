"""The geometry of the charts."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitalme.web import charts

AMOUNTS = st.decimals(min_value=0, max_value=10**6, places=4, allow_nan=False)


def days(count: int) -> list[date]:
    return [date(2026, 11, 1) + timedelta(days=number) for number in range(count)]


@pytest.mark.parametrize(
    ("value", "ceiling"), [("0", "1"), ("0.03", "0.04"), ("6.3", "10"), ("2.4", "2.5"), ("100", "100"), ("101", "200")]
)
def test_the_scale_ends_at_a_round_number(value: str, ceiling: str) -> None:
    assert charts.nice_ceiling(Decimal(value)) == Decimal(ceiling)


@given(AMOUNTS)
def test_the_scale_always_holds_the_value(value: Decimal) -> None:
    assert charts.nice_ceiling(value) >= value


@given(st.lists(st.tuples(AMOUNTS, AMOUNTS), min_size=1, max_size=31))
def test_every_segment_lies_within_the_picture(amounts: list[tuple[Decimal, Decimal]]) -> None:
    series = [
        charts.Series(name, colour, tuple(pair[colour - 1] for pair in amounts))
        for name, colour in (("A", 1), ("B", 2))
    ]
    bars = charts.stacked_bars(days(len(amounts)), series, width=700, height=240)
    for segment in bars.segments:
        assert 0 <= float(segment.x) <= float(segment.x) + float(segment.width) <= 700.1
        assert 0 <= float(segment.y) <= float(segment.y) + float(segment.height) <= 240


def test_nothing_is_drawn_for_a_day_without_cost() -> None:
    series = [charts.Series("OpenAI", 1, (Decimal(0), Decimal(2)))]
    bars = charts.stacked_bars(days(2), series, width=700, height=240)
    assert [segment.title for segment in bars.segments] == ["OpenAI, Nov 2"]


def test_a_spark_needs_something_to_show() -> None:
    assert charts.spark(()) is None
    assert charts.spark((Decimal(0), Decimal(0))) is None
    drawn = charts.spark((Decimal(1), Decimal(2)))
    assert drawn
    assert drawn.line == "0.0,18.0 128.0,2.0"
