"""Geometry of the charts: plain numbers in, coordinates for the SVG templates out."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

GRID_LINES = 4
SERIES_COLOURS = 6
_NICE = (Decimal(1), Decimal(2), Decimal("2.5"), Decimal(4), Decimal(5), Decimal(10))
_LEFT, _TOP, _BOTTOM = 44.0, 8.0, 24.0
_BAR_SHARE = 0.72
_SEGMENT_GAP = 1.5
_SPARK_PAD = 2.0
_LABEL_PIXELS = 72
_DOT, _SMALL_DOT, _MANY = 2.75, 1.75, 31
Write = Callable[[Any], str]


@dataclass(frozen=True)
class Slot:
    """One place on the axis of time: the day or hour it stands for, and what is written under it."""

    at: Any
    text: str


@dataclass(frozen=True)
class Series:
    """Amounts that belong together, a value for each slot; `colour` is 1 to SERIES_COLOURS."""

    name: str
    colour: int
    values: tuple[Any, ...]

    @property
    def total(self) -> Any:
        """The sum over all slots."""
        return sum(self.values)


@dataclass(frozen=True)
class Segment:
    """One coloured piece of a bar."""

    x: str
    y: str
    width: str
    height: str
    colour: int
    title: str


@dataclass(frozen=True)
class Mark:
    """A label at a place: of a grid line (y) or under a bar (x)."""

    x: str
    y: str
    text: str


@dataclass(frozen=True)
class Line:
    """One coloured line, in as many pieces as there are gaps in it, and its dots."""

    colour: int
    pieces: tuple[str, ...]
    dots: tuple[Mark, ...]


@dataclass(frozen=True)
class Picture:
    """A chart of stacked bars or of lines, ready to draw."""

    width: int
    height: int
    left: str
    label_y: str
    grid: tuple[Mark, ...]
    slots: tuple[Mark, ...]
    segments: tuple[Segment, ...] = ()
    lines: tuple[Line, ...] = ()
    dot: float = _DOT


@dataclass(frozen=True)
class Spark:
    """A small line without axes, ready to draw."""

    width: int
    height: int
    line: str
    area: str


def colour_of(index: int) -> int:
    """Return the colour number of the provider at this place of the catalogue."""
    return index % SERIES_COLOURS + 1


def nice_ceiling(value: Decimal) -> Decimal:
    """Return the next round number at or above a value, so that grid lines carry short labels."""
    if value <= 0:
        return Decimal(1)
    magnitude = Decimal(1).scaleb(value.adjusted())
    return next(magnitude * step for step in _NICE if magnitude * step >= value)


def whole_ceiling(value: int) -> Decimal:
    """Return the next round number at or above a value whose parts between the grid lines are whole."""
    return GRID_LINES * nice_ceiling(Decimal(max(1, math.ceil(Decimal(value) / GRID_LINES))))


def days(first: date, count: int) -> list[Slot]:
    """Return a slot for each of so many days."""
    found = [date.fromordinal(first.toordinal() + number) for number in range(count)]
    return [Slot(day, f"{day.day} {day:%b}") for day in found]


def stacked_bars(
    slots: Sequence[Slot],
    series: Sequence[Series],
    *,
    width: int,
    height: int,
    write: Write,
    scale: Write,
    whole: bool = False,
) -> Picture:
    """Return the chart of the slots, every series stacked on the one before; `whole` if its amounts are whole. `write`
    tells an amount, `scale` that of a grid line."""
    totals = [sum(one.values[index] for one in series) for index in range(len(slots))]
    most = max(totals, default=0)
    top = whole_ceiling(int(most)) if whole else nice_ceiling(Decimal(most))
    floor, step = height - _BOTTOM, _step(slots, width)
    pixels = (floor - _TOP) / float(top)
    segments = [
        segment
        for index, slot in enumerate(slots)
        for segment in _bar(index, slot, series, scale=pixels, floor=floor, step=step, write=write)
    ]
    return Picture(
        width=width,
        height=height,
        left=_number(_LEFT),
        label_y=_number(height - 4),
        grid=tuple(_grid(top, floor, scale)),
        slots=tuple(_labels(slots, width)),
        segments=tuple(segments),
    )


def lines(slots: Sequence[Slot], series: Sequence[Series], *, width: int, height: int, write: Write) -> Picture:
    """Return the chart of a line for each series of whole numbers, with a gap where a value is None."""
    top = whole_ceiling(max((value for one in series for value in one.values if value is not None), default=0))
    floor, step = height - _BOTTOM, _step(slots, width)
    scale = (floor - _TOP) / float(top)
    drawn = []
    for one in series:
        pieces: list[list[str]] = [[]]
        dots = []
        for index, (slot, value) in enumerate(zip(slots, one.values, strict=True)):
            if value is None:
                pieces.append([])
                continue
            x, y = _number(_LEFT + step * (index + 0.5)), _number(floor - float(value) * scale)
            pieces[-1].append(f"{x},{y}")
            dots.append(Mark(x, y, f"{one.name}, {slot.text}: {write(value)}"))
        drawn.append(Line(one.colour, tuple(" ".join(piece) for piece in pieces if len(piece) > 1), tuple(dots)))
    return Picture(
        width=width,
        height=height,
        left=_number(_LEFT),
        label_y=_number(height - 4),
        grid=tuple(_grid(top, floor, write)),
        slots=tuple(_labels(slots, width)),
        lines=tuple(drawn),
        dot=_SMALL_DOT if len(slots) > _MANY else _DOT,
    )


def _step(slots: Sequence[Slot], width: int) -> float:
    return (width - _LEFT) / max(len(slots), 1)


def _labels(slots: Sequence[Slot], width: int) -> list[Mark]:
    """Return what stands under the slots, under as many as there is room for."""
    step = _step(slots, width)
    every = max(1, math.ceil(_LABEL_PIXELS / step)) if len(slots) * _LABEL_PIXELS > width else 1
    return [
        Mark(_number(_LEFT + step * (index + 0.5)), "", slot.text)
        for index, slot in enumerate(slots)
        if index % every == 0
    ]


def _bar(
    index: int, slot: Slot, series: Sequence[Series], *, scale: float, floor: float, step: float, write: Write
) -> list[Segment]:
    x, y = _LEFT + step * (index + (1 - _BAR_SHARE) / 2), floor
    found = []
    for one in series:
        value = one.values[index]
        height = float(value) * scale
        if value <= 0:
            continue
        y -= height
        drawn = max(height - _SEGMENT_GAP, 0.75)
        found.append(
            Segment(
                _number(x),
                _number(y),
                _number(step * _BAR_SHARE),
                _number(drawn),
                one.colour,
                f"{one.name}, {slot.text}: {write(value)}",
            )
        )
    return found


def _grid(top: Decimal, floor: float, write: Write) -> list[Mark]:
    return [
        Mark("", _number(floor - (floor - _TOP) * line / GRID_LINES), write((top * line / GRID_LINES).normalize()))
        for line in range(GRID_LINES + 1)
    ]


def spark(values: Sequence[Decimal], *, width: int = 128, height: int = 36) -> Spark | None:
    """Return the line through the values, or None where there is nothing to see."""
    top = max(values, default=Decimal(0))
    if top <= 0 or len(values) < 2:
        return None
    step = width / (len(values) - 1)
    room = height - 2 * _SPARK_PAD
    points = [
        f"{_number(step * index)},{_number(height - _SPARK_PAD - float(value / top) * room)}"
        for index, value in enumerate(values)
    ]
    line = " ".join(points)
    return Spark(width, height, line, f"0,{height} {line} {width},{height}")


def _number(value: float) -> str:
    """Return a coordinate, the same in every locale."""
    return f"{value:.1f}"
