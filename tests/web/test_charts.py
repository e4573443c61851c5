"""The geometry of the charts."""

from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitalme.web import charts
from digitalme.web.templatetags import formats

AMOUNTS = st.decimals(min_value=0, max_value=10**6, places=4, allow_nan=False)


def drawn(series: list[charts.Series], **more: Any) -> charts.Picture:
    slots = charts.days(date(2026, 11, 1), len(series[0].values))
    return charts.stacked_bars(slots, series, width=700, height=240, write=formats.money, scale=str, **more)


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
    bars = drawn(series)
    for segment in bars.segments:
        assert 0 <= float(segment.x) <= float(segment.x) + float(segment.width) <= 700.1
        assert 0 <= float(segment.y) <= float(segment.y) + float(segment.height) <= 240


def test_nothing_is_drawn_for_a_day_without_cost() -> None:
    series = [charts.Series("OpenAI", 1, (Decimal(0), Decimal(2)))]
    assert [segment.title for segment in drawn(series).segments] == ["OpenAI, 2 Nov: $2.00"]


@given(st.integers(0, 10**12))
def test_grid_lines_of_whole_amounts_are_whole(value: int) -> None:
    top = charts.whole_ceiling(value)
    assert value <= top <= max(4, 4 * value)
    assert top % charts.GRID_LINES == 0
    marks = drawn([charts.Series("A", 1, (value,))], whole=True).grid
    assert all(Decimal(mark.text) == int(Decimal(mark.text)) for mark in marks)


def test_a_line_has_a_gap_where_nothing_was_measured() -> None:
    slots = charts.days(date(2026, 11, 1), 5)
    series = [charts.Series("p50", 1, (80, 120, None, 400, None))]
    (line,) = charts.lines(slots, series, width=700, height=240, write=str).lines
    assert [piece.count(",") for piece in line.pieces] == [2]
    assert [dot.text for dot in line.dots] == ["p50, 1 Nov: 80", "p50, 2 Nov: 120", "p50, 4 Nov: 400"]
    assert {dot.y for dot in line.dots[2:]} == {
        charts.lines(slots, series, width=700, height=240, write=str).grid[-1].y
    }


@pytest.mark.parametrize(("count", "width"), [(7, 340), (24, 340), (30, 760), (90, 340), (90, 760)])
def test_labels_have_room_beside_each_other(count: int, width: int) -> None:
    marks = charts.lines(charts.days(date(2026, 11, 1), count), [], width=width, height=200, write=str).slots
    places = [float(mark.x) for mark in marks]
    assert min(later - one for one, later in pairwise(places)) >= 45


def test_a_spark_needs_something_to_show() -> None:
    assert charts.spark(()) is None
    assert charts.spark((Decimal(0), Decimal(0))) is None
    drawn = charts.spark((Decimal(1), Decimal(2)))
    assert drawn
    assert drawn.line == "0.0,18.0 128.0,2.0"
