"""What a period comes to in the end: expected, and between which bounds it should stay four times out of five.

Weekdays and hours repeat themselves, so the model is Holt and Winters' exponential smoothing with an additive season,
from statsmodels. That library and what it stands on take some 150 MB of memory: it is imported by the first
forecast, which only a worker makes, never by this module. A history too short for it is carried on at its pace, between
bounds that are wide on purpose, and `basis` says so.

Amounts are floats of any one unit: a forecast is no bill.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any, Literal

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# How many steps of a length make a season, and how many seasons the model has to have seen.
SEASONS = {HOUR: 24, DAY: 7}
LEAST_SEASONS = 3
# Older seasons say little of the next one and cost time.
MOST_SEASONS = 26
# Bounds that eight of ten outcomes lie between.
LOW, HIGH = 0.1, 0.9
PATHS, SEED = 400, 7
# What is left of a period may come to half of what the pace says, or to twice that.
WIDE_LOW, WIDE_HIGH = 0.5, 2.0

Basis = Literal["season", "pace"]


@dataclass(frozen=True, slots=True)
class History:
    """What was used in steps of an hour or a day that are over, oldest first; the first began at `start`."""

    start: datetime
    step: timedelta
    amounts: Sequence[float]

    @property
    def end(self) -> datetime:
        """When the last of its steps ended."""
        return self.start + self.step * len(self.amounts)


@dataclass(frozen=True, slots=True)
class Point:
    """What one coming step, or the part of it before the period's end, uses by itself."""

    start: datetime
    expected: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """The total at the period's end, when the expected use reaches the limit (None: not before the end), and the
    coming steps."""

    expected: float
    low: float
    high: float
    reaches_limit_at: datetime | None
    basis: Basis
    points: tuple[Point, ...]


def forecast(history: History, *, begin: datetime, end: datetime, used: float, limit: float | None = None) -> Forecast:
    """Say what a period from `begin` to `end` comes to, of which `used` is used at the end of the history.

    The history may begin before the period, and should: it is what weekdays are learnt from. Raises ValueError for
    amounts that are negative or not finite, and for steps other than an hour or a day.
    """
    if history.step not in SEASONS:
        raise ValueError("a step is an hour or a day")
    if not all(math.isfinite(amount) and amount >= 0 for amount in (used, *history.amounts)):
        raise ValueError("an amount is a finite number, zero or more")
    shares = _shares(history.end, end, history.step)
    paths = _season(_since_first_use(history), SEASONS[history.step], len(shares)) if shares else None
    if paths is None:
        return _carried_on(history, shares, begin=begin, used=used, limit=limit)
    return _read(paths, history, shares, used=used, limit=limit)


def _shares(now: datetime, end: datetime, step: timedelta) -> list[float]:
    """How much of each coming step lies before the end: 1 but for the last."""
    left = max((end - now) / step, 0.0)
    whole = int(left)
    return [1.0] * whole + ([left - whole] if left > whole else [])


def _since_first_use(history: History) -> list[float]:
    """The amounts from the first that is not zero: before it nobody was there to have a habit."""
    amounts = list(history.amounts)[-MOST_SEASONS * SEASONS[history.step] :]
    first = next((place for place, amount in enumerate(amounts) if amount), len(amounts))
    return amounts[first:]


def _season(amounts: list[float], season: int, steps: int) -> Any | None:
    """Return the mean of the coming steps as the first row and possible courses of them as the others; None if the
    model cannot be fitted."""
    if len(amounts) < LEAST_SEASONS * season:
        return None
    import numpy
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    scale = sum(amounts) / len(amounts)
    with warnings.catch_warnings(), numpy.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            model = ExponentialSmoothing(numpy.array(amounts) / scale, seasonal="add", seasonal_periods=season)
            fitted = model.fit()
            mean = numpy.asarray(fitted.forecast(steps))
            drawn = fitted.simulate(steps, repetitions=PATHS, random_errors="bootstrap", rng=SEED)
        except (ValueError, ArithmeticError, numpy.linalg.LinAlgError):
            return None
        courses = numpy.asarray(drawn).reshape(steps, PATHS).T
        # The model is fitted to the very steps its errors are taken from, which makes them too small.
        free = len(amounts) - season - 2
        courses = mean + (courses - mean) * math.sqrt(len(amounts) / free)
        # And no course tells that each place of the season is known no better than its few steps allow.
        doubt = math.sqrt(float(fitted.sse) / free * season / len(amounts))
        drift = doubt * numpy.random.default_rng(SEED).standard_normal((PATHS, season))
        courses = courses + numpy.tile(drift, steps // season + 1)[:, :steps]
        found = numpy.vstack([mean, courses]).clip(min=0) * scale
    return found if numpy.isfinite(found).all() else None


def _read(paths: Any, history: History, shares: list[float], *, used: float, limit: float | None) -> Forecast:
    """Make a forecast of the mean and the possible courses."""
    import numpy

    paths = paths * numpy.array(shares)
    mean, courses = paths[0], paths[1:]
    low, high = (numpy.minimum(numpy.quantile(courses, LOW, axis=0), mean), numpy.quantile(courses, HIGH, axis=0))
    steps = zip(mean.tolist(), low.tolist(), numpy.maximum(high, mean).tolist(), strict=True)
    points = tuple(Point(history.end + history.step * place, *step) for place, step in enumerate(steps))
    bounds = numpy.quantile(courses.sum(axis=1), [LOW, HIGH]).tolist()
    expected = used + sum(point.expected for point in points)
    at = _reached(points, history, shares, used=used, limit=limit)
    return Forecast(expected, min(used + bounds[0], expected), max(used + bounds[1], expected), at, "season", points)


def _carried_on(
    history: History, shares: list[float], *, begin: datetime, used: float, limit: float | None
) -> Forecast:
    """Go on at the pace since the period began; in its first step, at that of the history before it."""
    over = (history.end - begin) / history.step
    known = history.amounts
    pace = used / over if over >= 1 else sum(known) / len(known) if known else used
    points = tuple(
        Point(history.end + history.step * place, *(pace * share * factor for factor in (1, WIDE_LOW, WIDE_HIGH)))
        for place, share in enumerate(shares)
    )
    expected, low, high = (
        (used + sum(values) for values in zip(*((p.expected, p.low, p.high) for p in points), strict=True))
        if points
        else (used, used, used)
    )
    return Forecast(expected, low, high, _reached(points, history, shares, used=used, limit=limit), "pace", points)


def _reached(
    points: Sequence[Point], history: History, shares: list[float], *, used: float, limit: float | None
) -> datetime | None:
    """Return when the expected use reaches the limit; within a step it grows evenly."""
    if limit is None:
        return None
    if used >= limit:
        return history.end
    before = accumulate((point.expected for point in points), initial=used)
    for point, share, so_far in zip(points, shares, before, strict=False):
        if so_far + point.expected >= limit:
            return point.start + history.step * share * min((limit - so_far) / point.expected, 1.0)
    return None
