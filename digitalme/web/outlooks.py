"""What forecasts say under limits and about the month, in words."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from digitalme.accounts.models import User
from digitalme.forecasts.models import Forecast
from digitalme.web.quota_bars import UNITS, Bar
from digitalme.web.templatetags import formats
from quotas.periods import MONTHLY

_A_WEEK = 7


@dataclass(frozen=True, slots=True)
class Month:
    """What a person's running month comes to."""

    cost: str
    low: str
    high: str
    requests: str
    tokens: str
    by_habit: bool


def under(bars: Iterable[Bar], foreseen: Iterable[Forecast], user: User, now: datetime) -> list[Bar]:
    """Return the bars of a person, each with a sentence on how it goes on where that is known."""
    there = {(one.type, one.provider, one.dimension): one for one in foreseen}
    told = []
    for bar in bars:
        one = there.get((bar.type, bar.provider, bar.dimension))
        fits = one is not None and one.period_end == bar.resets_at and bar.share < 1
        told.append(replace(bar, outlook=sentence(one, bar.allowed_text, user.time_zone, now)) if one and fits else bar)
    return told


def sentence(one: Forecast, allowed: str, zone: str, now: datetime) -> str:
    """Return when a limit is reached, or what its period comes to; nothing if that has been overtaken by what was used
    since, or by another limit."""
    written = UNITS[one.dimension][1]
    if one.limit is None or written(Decimal(one.limit)) != allowed:
        return ""
    if one.reaches_limit_at is None:
        end = "month" if one.type in MONTHLY else "day"
        return f"At this pace it comes to about {written(_whole(one))} of {allowed} by the end of the {end}."
    if one.reaches_limit_at <= now:
        return ""
    return f"At this pace you reach the limit {when(one.reaches_limit_at, zone, now)}."


def when(moment: datetime, zone: str, now: datetime) -> str:
    """Return a coming moment as one says it: 'today at about 15:00', 'on Thursday', 'on 23 November'."""
    there, here = moment.astimezone(ZoneInfo(zone)), now.astimezone(ZoneInfo(zone))
    days = (there.date() - here.date()).days
    if days == 0:
        return f"today at about {there:%H:%M}"
    return f"on {there:%A}" if days < _A_WEEK else f"on {there.day} {there:%B}"


def of_month(foreseen: Iterable[Forecast]) -> Month | None:
    """Return what the month as a whole comes to, None where that is not known yet."""
    found = {one.dimension: one for one in foreseen if not one.type}
    cost, requests, tokens = (found.get(name) for name in ("cost", "requests", "tokens"))
    if not (cost and requests and tokens and requests.expected):
        return None
    return Month(
        cost=formats.money(Decimal(cost.expected)),
        low=formats.money(Decimal(cost.low)),
        high=formats.money(Decimal(cost.high)),
        requests=formats.short(round(requests.expected)),
        tokens=formats.short(round(tokens.expected)),
        by_habit=cost.basis == Forecast.Basis.SEASON,
    )


def _whole(one: Forecast) -> Decimal:
    """Requests and tokens are whole ones."""
    return Decimal(one.expected) if one.dimension == Forecast.Dimension.COST else Decimal(round(one.expected))
