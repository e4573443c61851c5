"""What a report is drawn as: charts of cost, tokens, calls and response times, each with the table of its numbers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from digitalme.web import charts
from digitalme.web.charts import Picture, Series, Slot, Write
from digitalme.web.templatetags import formats
from usage.analytics import Point, Totals, UsageReport

MOST_SERIES = charts.SERIES_COLOURS - 1
OTHERS = "all others"
WIDE, NARROW = (760, 240), (340, 200)
_SECOND_MS = 1000
# What became of calls, how many of a point's, and the colour.
_OUTCOMES: tuple[tuple[str, Callable[[Totals], int], int], ...] = (
    ("Answered", lambda sums: sums.requests - sums.failed, 3),
    ("Failed", lambda sums: sums.failed, 4),
    ("Refused", lambda sums: sums.refused, 2),
)


@dataclass(frozen=True)
class Chart:
    """One chart: drawn for a desk and for a phone or half the width, and told as a table, the latest first."""

    id: str
    title: str
    series: Sequence[Series]
    wide: Picture
    narrow: Picture
    rows: Sequence[tuple[str, list[str]]]
    summed: bool = False


def charts_of(found: UsageReport, slots: Sequence[Slot], names: Mapping[str, str], by: str = "provider") -> list[Chart]:
    """Return the charts for which there is anything to see. The report's series is by provider or model, as `by` says,
    and a point's time is a slot's."""
    shown = _shown(found, names, by)
    outcomes = [Series(name, colour, _values(found.series, slots, told)) for name, told, colour in _OUTCOMES]
    wanted = [
        ("cost", "Cost", _stacks(found, slots, shown, lambda sums: sums.cost), formats.money, _dollars),
        ("tokens", "Tokens", _stacks(found, slots, shown, lambda sums: sums.total_tokens), formats.count, _short),
        ("calls", "Calls and errors", [one for one in outcomes if any(one.values)], formats.count, _short),
    ]
    drawn = [_stacked(*one, slots) for one in wanted if one[2]]
    return [*drawn, *_response_times(found.series, slots)]


def _shown(found: UsageReport, names: Mapping[str, str], by: str) -> dict[Any, tuple[str, int]]:
    """Return the name and colour of each value that has a series of its own: the dearest. A provider keeps its place in
    the catalogue's colours, unless another of the dearest has it."""
    dearest = list(found.by[by])[: MOST_SERIES if len(found.by[by]) > charts.SERIES_COLOURS else charts.SERIES_COLOURS]
    places = {slug: place for place, slug in enumerate(names)}
    dearest.sort(key=lambda one: places.get(one, len(places)))
    free = list(range(1, 1 + (MOST_SERIES if len(found.by[by]) > len(dearest) else charts.SERIES_COLOURS)))
    shown: dict[Any, tuple[str, int]] = {}
    for one in dearest:
        liked = charts.colour_of(places.get(one, 0))
        colour = free.pop(free.index(liked)) if liked in free else free.pop(0)
        shown[one] = (names.get(one, one) or f"no {by}", colour)
    return shown


def _stacks(
    found: UsageReport, slots: Sequence[Slot], shown: Mapping[Any, tuple[str, int]], told: Callable[[Totals], Any]
) -> list[Series]:
    series = [
        Series(name, colour, _values((one for one in found.series if one.value == value), slots, told))
        for value, (name, colour) in shown.items()
    ]
    rest = (one for one in found.series if one.value not in shown)
    series.append(Series(OTHERS, charts.SERIES_COLOURS, _values(rest, slots, told)))
    return [one for one in series if any(one.values)]


def _values(points: Iterable[Point], slots: Sequence[Slot], told: Callable[[Totals], Any]) -> tuple[Any, ...]:
    amounts: dict[Any, Any] = {}
    for one in points:
        amounts[one.at] = amounts.get(one.at, 0) + told(one)
    return tuple(amounts.get(slot.at, 0) for slot in slots)


def _stacked(id_: str, title: str, series: list[Series], write: Write, scale: Write, slots: Sequence[Slot]) -> Chart:
    wide, narrow = (
        charts.stacked_bars(
            slots, series, width=width, height=height, write=write, scale=scale, whole=scale is not _dollars
        )
        for width, height in (WIDE, NARROW)
    )
    rows = []
    for index, slot in enumerate(slots):
        amounts = [one.values[index] for one in series]
        rows.append((slot.text, [*map(write, amounts), *([write(sum(amounts))] if len(series) > 1 else [])]))
    return Chart(id_, title, series, wide, narrow, rows[::-1], summed=len(series) > 1)


def _response_times(points: Sequence[Point], slots: Sequence[Slot]) -> list[Chart]:
    whole: dict[Any, Totals] = {}
    for one in points:
        whole.setdefault(one.at, Totals()).merge(one)
    sums = [whole.get(slot.at, Totals()) for slot in slots]
    series = [
        Series("Half within", 1, tuple(one.p50_response_ms for one in sums)),
        Series("95 of 100 within", 2, tuple(one.p95_response_ms for one in sums)),
    ]
    if all(value is None for value in series[0].values):
        return []
    wide, narrow = (
        charts.lines(slots, series, width=width, height=height, write=_duration) for width, height in (WIDE, NARROW)
    )
    rows = [
        (slot.text, ["—" if one.values[index] is None else f"{one.values[index]:,} ms" for one in series])
        for index, slot in enumerate(slots)
    ]
    return [Chart("times", "Response time", series, wide, narrow, rows[::-1])]


def _dollars(amount: Decimal) -> str:
    return f"${amount:f}"


def _short(amount: Decimal) -> str:
    return formats.short(int(amount))


def _duration(milliseconds: Decimal | int) -> str:
    seconds = Decimal(milliseconds) / _SECOND_MS
    return f"{int(milliseconds)} ms" if seconds < 1 else f"{seconds.normalize():f} s"
