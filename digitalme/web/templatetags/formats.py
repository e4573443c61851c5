"""How pages write money, amounts and times."""

from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

from django import template
from django.utils import timezone

register = template.Library()

_CENT = Decimal("0.01")
_STEPS = ((1_000_000_000, "B"), (1_000_000, "M"), (10_000, "k"))
_MINUTES_PER_HOUR, _MINUTES_PER_DAY = 60, 1440
_GROUP = 5
_GROUPS_SHOWN = 2


@register.filter
def money(amount: Decimal | int | None) -> str:
    """Return US dollars: cents, or two significant digits below a cent; None has no known price."""
    if amount is None:
        return "unpriced"
    value = Decimal(amount)
    if not value or abs(value) >= _CENT:
        return f"${value.quantize(_CENT, ROUND_HALF_UP):,}"
    digits = -value.adjusted() + 1
    return f"${value.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP):f}"


@register.filter
def short(amount: int | None) -> str:
    """Return a whole number in the few characters that fit a tile: 950, 9,500, 12.3 k, 4.8 M."""
    value = amount or 0
    for step, unit in _STEPS:
        if abs(value) >= step:
            size = 1000 if unit == "k" else step
            return f"{value / size:.1f}".removesuffix(".0") + f"\u00a0{unit}"
    return f"{value:,}"


@register.filter
def count(amount: int | None) -> str:
    """Return a whole number with its thousands set apart."""
    return f"{amount or 0:,}"


@register.filter
def until(moment: datetime | None, now: datetime | None = None) -> str:
    """Return the time left: '3 d 4 h', '6 h 12 min' or '5 min', rounded up to the minute."""
    if moment is None:
        return ""
    seconds = (moment - (now or timezone.now())).total_seconds()
    minutes = max(0, -int(-seconds // 60))
    days, rest = divmod(minutes, _MINUTES_PER_DAY)
    hours, left = divmod(rest, _MINUTES_PER_HOUR)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {left} min" if hours else f"{left} min"


@register.filter
def fingerprint(value: str) -> str:
    """Return the first characters of a key's fingerprint in groups, easy to compare by eye."""
    groups = [value[start : start + _GROUP] for start in range(0, _GROUP * _GROUPS_SHOWN, _GROUP)]
    return "\u00b7".join(group for group in groups if group)
