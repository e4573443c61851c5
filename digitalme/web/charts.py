"""Geometry of the charts: plain numbers in, coordinates for the SVG templates out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

GRID_LINES = 4
LABEL_EVERY_DAYS = 5
SERIES_COLOURS = 6
_NICE = (Decimal(1), Decimal(2), Decimal("2.5"), Decimal(4), Decimal(5), Decimal(10))
_LEFT, _TOP, _BOTTOM = 44.0, 8.0, 24.0
_BAR_SHARE = 0.72
_SEGMENT_GAP = 1.5
_SPARK_PAD = 2.0


@dataclass(frozen=True)
class Series:
    """One provider's amounts in US dollars, a value a day; `colour` is 1 to SERIES_COLOURS."""

    name: str
    colour: int
    values: tuple[Decimal, ...]

    @property
    def total(self) -> Decimal:
        """The sum over all days."""
        return sum(self.values, Decimal(0))


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
class Bars:
    """A stacked bar chart, ready to draw."""

    width: int
    height: int
    left: str
    label_y: str
    segments: tuple[Segment, ...]
    grid: tuple[Mark, ...]
    days: tuple[Mark, ...]


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


def stacked_bars(days: Sequence[date], series: Sequence[Series], *, width: int, height: int) -> Bars:
    """Return the chart of the days, every series stacked on the one before."""
    totals = [sum((one.values[index] for one in series), Decimal(0)) for index in range(len(days))]
    top = nice_ceiling(max(totals, default=Decimal(0)))
    floor = height - _BOTTOM
    step = (width - _LEFT) / max(len(days), 1)
    segments = [
        segment
        for index, day in enumerate(days)
        for segment in _bar(index, day, series, scale=(floor - _TOP) / float(top), floor=floor, step=step)
    ]
    return Bars(
        width=width,
        height=height,
        left=_number(_LEFT),
        label_y=_number(height - 4),
        segments=tuple(segments),
        grid=tuple(_grid(top, floor)),
        days=tuple(
            Mark(_number(_LEFT + step * (index + 0.5)), "", f"{day.day} {day:%b}")
            for index, day in enumerate(days)
            if index % LABEL_EVERY_DAYS == 0
        ),
    )


def _bar(index: int, day: date, series: Sequence[Series], *, scale: float, floor: float, step: float) -> list[Segment]:
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
                f"{one.name}, {day:%b} {day.day}",
            )
        )
    return found


def _grid(top: Decimal, floor: float) -> list[Mark]:
    lines = []
    for line in range(GRID_LINES + 1):
        value = (top * line / GRID_LINES).normalize()
        lines.append(Mark("", _number(floor - (floor - _TOP) * line / GRID_LINES), f"${value:f}"))
    return lines


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
