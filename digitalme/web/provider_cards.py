"""What a provider's card shows: whose key serves, its facts, what it cost, how the last test went."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from apikeys import keys, resolution
from apikeys.models import Credential
from apikeys.resolution import KeySource
from digitalme.accounts.models import User
from digitalme.web import charts, quota_bars, spending
from providers import registry
from providers.registry import Provider
from providers.validation import Category, Outcome

SPARK_DAYS = 30
_OWN_CHIPS = {
    Credential.Status.VALID: ("Connected", "ok"),
    Credential.Status.LIMITED: ("Connected, limited", "warn"),
    Credential.Status.INVALID: ("Key rejected", "bad"),
    Credential.Status.EXPIRED: ("Key expired", "bad"),
    Credential.Status.UNKNOWN: ("Not tested", "info"),
}
_TONES = {
    Category.VALID: "ok",
    Category.LIMITED: "warn",
    Category.MALFORMED: "bad",
    Category.INVALID: "bad",
    Category.EXPIRED: "bad",
}


@dataclass(frozen=True)
class Chip:
    """The coloured word that says how things stand."""

    label: str
    tone: str


@dataclass(frozen=True)
class Result:
    """What came of a deed: a heading, a sentence, and how good it is (ok, warn, bad)."""

    tone: str
    heading: str
    detail: str

    @property
    def sentence(self) -> str:
        """Both in one line."""
        return f"{self.heading} {self.detail}".strip()


@dataclass
class Card:
    """One provider as one person sees it."""

    provider: Provider
    source: str
    credential: Credential | None
    chip: Chip
    whose: str
    cost: Decimal | None
    spark: charts.Spark | None
    demo: quota_bars.Bar | None
    form: Any = None
    removing: bool = False
    result: Result | None = None


def cards_of(user: User, *, now: datetime, only: str | None = None) -> list[Card]:
    """Return the cards of all providers, or of the one named; as many queries for all as for one."""
    shown = [provider for provider in registry.all_providers() if only in (None, provider.slug)]
    slugs = [provider.slug for provider in shown]
    own = {one.provider: one for one in keys.keys_of(user) if one.label == ""}
    resolved = resolution.resolve([(user.pk, slug) for slug in slugs])
    sources = {slug: str(key.source) for (_, slug), key in resolved.items()}
    spent = spending.by_provider(user, days=SPARK_DAYS, now=now)
    demo = {bar.provider: bar for bar in quota_bars.bars_of(user, now=now) if bar.type == "demo"}
    return [
        _card(provider, own.get(provider.slug), sources.get(provider.slug, ""), spent, demo.get(provider.slug))
        for provider in shown
    ]


def _card(
    provider: Provider,
    credential: Credential | None,
    source: str,
    spent: spending.Spending,
    demo: quota_bars.Bar | None,
) -> Card:
    chip, whose = _standing(provider, credential, source)
    return Card(
        provider=provider,
        source=source,
        credential=credential,
        chip=chip,
        whose=whose,
        cost=spent.this_month.get(provider.slug, Decimal(0)),
        spark=charts.spark(spent.daily.get(provider.slug, ())),
        demo=demo if source == KeySource.SYSTEM and credential is None else None,
    )


def _standing(provider: Provider, credential: Credential | None, source: str) -> tuple[Chip, str]:
    if not provider.needs_key:
        return Chip("No key needed", "info"), "Built in, for practice"
    if credential is not None:
        if not credential.is_active:
            return Chip("Switched off", "warn"), "Your key"
        return Chip(*_OWN_CHIPS[Credential.Status(credential.status)]), "Your key"
    if source == KeySource.TEAM:
        return Chip("Team key", "ok"), "Your team's key"
    if source == KeySource.SYSTEM:
        return Chip("Demo key", "info"), "Demo key"
    return Chip("No key", "plain"), "No key yet"


def result_of(provider: Provider, outcome: Outcome, *, saved: bool = False) -> Result:
    """Return a test's outcome in words."""
    tone = _TONES.get(outcome.category, "warn")
    heading = "Saved. " if saved else ""
    if tone in ("ok", "bad") and outcome.category != Category.MALFORMED:
        heading += f"{provider.name} answered in {outcome.latency_ms} ms."
    charged = " Nothing was charged." if outcome.category == Category.VALID else ""
    return Result(tone, heading.strip(), outcome.message + charged)
