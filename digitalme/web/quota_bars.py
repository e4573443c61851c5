"""A person's limits as bars: used, allowed, and when they start anew."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from digitalme.accounts.models import User
from digitalme.errors import InvalidRequest
from digitalme.web.templatetags import formats
from providers import registry
from quotas import standing
from quotas.models import Binds
from quotas.raises import Amounts
from quotas.standing import QuotaStanding

WARN_SHARE = Decimal("0.75")
BAD_SHARE = Decimal("0.95")
_PERIODS = {
    "demo": "today",
    "daily": "today",
    "monthly": "this month",
    "fair_use": "today",
    "daily_budget": "today",
    "monthly_budget": "this month",
    "fallback": "this month",
}
_BINDS = {
    Binds.SYSTEM: "counts calls on the house's keys",
    Binds.OWN: "counts calls on your own keys",
    Binds.ALL: "counts every call",
    Binds.FALLBACK: "counts calls on the demo key in place of your own",
}
UNITS: dict[str, tuple[str, Callable[[Decimal], str]]] = {
    "requests": ("requests", lambda amount: formats.count(int(amount))),
    "tokens": ("tokens", lambda amount: formats.short(int(amount))),
    "cost": ("budget", formats.money),
}


@dataclass(frozen=True)
class Bar:
    """One dimension of one limit."""

    type: str
    provider: str
    label: str
    binds: str
    used_text: str
    allowed_text: str
    share: Decimal
    held_text: str
    resets_at: datetime
    dimension: str = ""

    carried_text: str = ""
    received_text: str = ""
    given_text: str = ""
    soft: bool = False
    slowed_from: int = 100
    emergency_uses_left: int = 0
    outlook: str = ""

    @property
    def slowed(self) -> bool:
        """Whether calls are slowed by now, so that the rest lasts."""
        return self.slowed_from < 100 and not self.soft and self.share * 100 > self.slowed_from

    @property
    def key(self) -> str:
        """What tells it from the others of the same owner, as a part of an id on a page."""
        return f"-{self.type}-{self.provider}-{self.dimension}".replace("*", "each")

    @property
    def percent(self) -> int:
        """How much is used, at most 100."""
        return min(100, int(self.share * 100))

    @property
    def tone(self) -> str:
        """ok, warn or bad: how near the limit is."""
        if self.share >= BAD_SHARE:
            return "bad"
        return "warn" if self.share >= WARN_SHARE else "ok"

    @property
    def value(self) -> str:
        """What names it in a form."""
        return f"{self.type}|{self.provider}|{self.dimension}"


def part_of(value: str, amount: Decimal) -> tuple[str, str, Amounts]:
    """Return type and provider of the bar of this value, and so much of it. Raises InvalidRequest for a piece of a
    request or token."""
    type_, provider, dimension = value.split("|")
    if dimension == "cost":
        return type_, provider, Amounts(cost=amount)
    if amount != int(amount):
        raise InvalidRequest("Requests and tokens come whole.", field="amount")
    whole = int(amount)
    return type_, provider, Amounts(requests=whole) if dimension == "requests" else Amounts(tokens=whole)


def bars_of(user: User, *, now: datetime, **known: Any) -> list[Bar]:
    """Return a bar for every amount that a limit of this person sets, the nearest to its end first; `known` is what
    quotas.standing need not ask for."""
    return bars_from(standing.standings(user, now, **known))


def bars_from(standings: Iterable[QuotaStanding]) -> list[Bar]:
    """Return a bar for every amount that these limits set, the nearest to its end first."""
    names = {provider.slug: provider.name for provider in registry.all_providers()}
    bars = [bar for one in standings for bar in _bars(one, names)]
    return sorted(bars, key=lambda bar: -bar.share)


def _bars(one: QuotaStanding, names: dict[str, str]) -> list[Bar]:
    found = []
    for dimension, (noun, written) in UNITS.items():
        allowed = getattr(one, f"allowed_{dimension}")
        if allowed is None:
            continue
        used, held = getattr(one, f"used_{dimension}"), getattr(one, f"held_{dimension}")
        found.append(
            Bar(
                type=one.type,
                provider=one.provider,
                label=_label(one, noun, names),
                binds=_BINDS[Binds(one.binds)],
                used_text=written(Decimal(used)),
                allowed_text=written(Decimal(allowed)),
                share=Decimal(used) / Decimal(allowed) if allowed else Decimal(1),
                held_text=written(Decimal(held)) if held else "",
                resets_at=one.resets_at,
                carried_text=written(Decimal(carried)) if (carried := getattr(one, f"rollover_{dimension}")) else "",
                received_text=written(Decimal(got)) if (got := getattr(one, f"received_{dimension}")) else "",
                given_text=written(Decimal(gave)) if (gave := getattr(one, f"given_{dimension}")) else "",
                soft=one.soft,
                slowed_from=one.slowed_from,
                emergency_uses_left=one.emergency_uses_left,
                dimension=dimension,
            )
        )
    return found


def _label(one: QuotaStanding, noun: str, names: dict[str, str]) -> str:
    kind = {
        "demo": "Demo ",
        "fair_use": "Fair use: ",
        "daily_budget": "Your budget: ",
        "monthly_budget": "Your budget: ",
    }.get(one.type, "")
    where = f"{names.get(one.provider, one.provider)} " if one.provider else ""
    text = f"{kind}{where}{noun} {_PERIODS.get(one.type, '')}".strip()
    return text[0].upper() + text[1:]
