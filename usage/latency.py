"""How long calls took, kept as counts of a fixed set of ranges: counts of any rollups add up, percentiles do not.

Each range reaches half as far again as the one below. A percentile is told to within its range, so between
BOUNDS[0] and BOUNDS[-1] it is off by a factor of RATIO at most, below by BOUNDS[0] milliseconds at most; what took
longer than BOUNDS[-1] is told as that.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

RATIO = 1.5
# Milliseconds: 20, 30, 45 and so on up to two and a half minutes.
BOUNDS = tuple(round(20 * RATIO**step) for step in range(23))
COLUMNS = tuple(f"ms_{place}" for place in range(len(BOUNDS) + 1))


def conditions() -> list[str]:
    """Return for each of COLUMNS which records it counts, as SQL."""
    between = [f"response_ms >= {low} AND response_ms < {high}" for low, high in pairwise(BOUNDS)]
    return [f"response_ms < {BOUNDS[0]}", *between, f"response_ms >= {BOUNDS[-1]}"]


def percentile(counts: Sequence[int], share: float) -> int | None:
    """Return within how many milliseconds this share (0 to 1) of the counted calls ended; None if there are none."""
    total = sum(counts)
    if not total:
        return None
    left = max(1, math.ceil(share * total))
    for place, count in enumerate(counts):
        if left <= count:
            return _inside(place, left / count)
        left -= count
    raise ValueError("A count is negative.")


def _inside(place: int, part: float) -> int:
    """Return how far into a range that part of its calls reaches, if they lie evenly by factors."""
    if place == len(BOUNDS):
        return BOUNDS[-1]
    if place == 0:
        return round(BOUNDS[0] * part)
    low, high = BOUNDS[place - 1], BOUNDS[place]
    return min(high - 1, round(low * math.pow(high / low, part)))
