"""What a provider's card shows: whose key serves, its facts, what it cost, how the last test went."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.humanize.templatetags.humanize import naturaltime
from django.utils import timezone

from apikeys import keys, oauth, resolution
from apikeys.checks import DEAD, Checked
from apikeys.models import Consent, Credential
from apikeys.resolution import KeySource
from digitalme.accounts import tokens
from digitalme.accounts.models import User
from digitalme.statements import ask
from digitalme.web import charts, quota_bars, spending
from providers import adapters, consent, registry
from providers.registry import Provider
from providers.validation import Category

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
    """What came of a deed: a heading, a sentence, and how good it is (ok, warn, bad). `again` offers to do it anew
    although there is a result."""

    tone: str
    heading: str
    detail: str
    again: bool = False

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
    label: str = ""
    new: bool = False
    last_use: str = ""
    form: Any = None
    details: Any = None
    removing: bool = False
    moved: bool = False
    consent: Consent | None = None
    result: Result | None = None

    @property
    def id(self) -> str:
        """What tells this card from all others of the page."""
        return "-".join(filter(None, (self.provider.slug, self.label, "new" if self.new and self.several else "")))

    @property
    def several(self) -> bool:
        """Whether there may be further keys of this provider."""
        return self.provider.manifest.several

    @property
    def connectable(self) -> bool:
        """Whether the provider can be connected by consent here."""
        return consent.available(self.provider) and not self.several

    @property
    def query(self) -> str:
        """What its addresses end with, so that they mean this key."""
        if self.new:
            return "?new=1"
        return f"?label={self.label}" if self.label else ""

    @property
    def path(self) -> str:
        """Where the gateway has it."""
        return "/".join(filter(None, ("/gateway", self.provider.slug, self.label)))

    @property
    def goes_to(self) -> str:
        """The places that the key names for itself, if it does."""
        own = self.credential is not None and adapters.own_destination(self.provider)
        return ", ".join(self.credential.destination) if self.credential and own else ""

    @property
    def dead(self) -> bool:
        """Whether the provider rejected the key when it was tested last."""
        return self.credential is not None and self.credential.status in DEAD

    @property
    def last_day(self) -> date | None:
        """The last day of the key's life."""
        return last_day(self.credential) if self.credential else None


def last_day(credential: Credential) -> date | None:
    """Return the last day of a key's life where the reader is; a life that ends at midnight ends with the day
    before."""
    if credential.expires_at is None:
        return None
    return timezone.localtime(credential.expires_at - timedelta(microseconds=1)).date()


def cards_of(user: User, *, now: datetime, only: str | None = None) -> list[Card]:
    """Return the cards of all providers, or of the one named; as many queries for all as for one.

    A provider of which there may be several keys has a card for each, and one to add another.
    """
    shown = [provider for provider in registry.all_providers() if only in (None, provider.slug)]
    slugs = [provider.slug for provider in shown]
    own: dict[str, list[Credential]] = {}
    for one in keys.keys_of(user):
        own.setdefault(one.provider, []).append(one)
    programs = _programs(user, [one for several in own.values() for one in several])
    consents = oauth.consents_of(keys.keys_of(user))
    resolved = ask(resolution.resolve([(user.pk, slug) for slug in slugs]))
    sources = {slug: str(key.source) for (_, slug), key in resolved.items()}
    spent = spending.by_provider(user, days=SPARK_DAYS, now=now)
    demo = {bar.provider: bar for bar in quota_bars.bars_of(user, now=now) if bar.type == "demo"}
    cards = []
    for provider in shown:
        source, bar = sources.get(provider.slug, ""), demo.get(provider.slug)
        stored: list[Credential | None] = [*own.get(provider.slug, [])]
        if provider.manifest.several or not stored:
            stored.append(None)
        for credential in stored:
            card = _card(provider, credential, source, spent, bar)
            card.new = provider.manifest.several and credential is None
            if credential:
                card.label, card.last_use = credential.label, _last_use(credential, programs)
                card.consent = consents.get(credential.pk)
            cards.append(card)
    return cards


def _programs(user: User, stored: Sequence[Credential]) -> dict[str, str]:
    """Return the names of the tokens with which these keys were used last."""
    ids = {one.last_use["token"] for one in stored if one.last_use and one.last_use.get("token")}
    if not ids:
        return {}
    return {str(token.id): token.name for token in tokens.tokens_of(user).filter(id__in=ids)}


def _last_use(credential: Credential, programs: Mapping[str, str]) -> str:
    """Return by what a key was used last: 'chat gpt-4o, token laptop, from 203.0.113.0/24'."""
    use = credential.last_use or {}
    said = [f"{use.get('operation', '')} {use.get('model', '')}".strip()]
    if name := programs.get(use.get("token", "")):
        said.append(f"token {name}")
    if network := use.get("network"):
        said.append(f"from {network}")
    return ", ".join(filter(None, said))


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
        moved=credential is not None and _moved(provider, credential),
        demo=demo if source == KeySource.SYSTEM and credential is None else None,
    )


def _moved(provider: Provider, credential: Credential) -> bool:
    """Whether the provider's addresses are others than those that the key was entered for: it opens no more."""
    return adapters.moved(provider, tuple(credential.destination))


def own_chip(provider: Provider, credential: Credential) -> Chip:
    """Return the word that says how a stored key stands."""
    if _moved(provider, credential):
        return Chip("Enter the key again", "bad")
    if not credential.is_active:
        return Chip("Switched off", "warn")
    if credential.expires_at and credential.expires_at <= timezone.now():
        return Chip("Key expired", "bad")
    return Chip(*_OWN_CHIPS[Credential.Status(credential.status)])


def _standing(provider: Provider, credential: Credential | None, source: str) -> tuple[Chip, str]:
    if not provider.needs_key:
        return Chip("No key needed", "info"), "Built in, for practice"
    if credential is not None:
        return own_chip(provider, credential), "Your key"
    if source == KeySource.TEAM:
        return Chip("Team key", "ok"), "Your team's key"
    if source == KeySource.SYSTEM:
        return Chip("Demo key", "info"), "Demo key"
    return Chip("No key", "plain"), "No key yet"


def removed(provider: Provider, named: str, ended: bool | None, *, whose: str = "Your") -> Result:
    """Tell that a key is removed, and whether the provider ended the access behind it."""
    heading = f"{whose} {provider.name} key{named} is removed."
    told = {
        None: Result("ok", heading, ""),
        True: Result("ok", heading, f"{provider.name} ended its access."),
        False: Result(
            "warn",
            heading,
            f"{provider.name} could not be told to end the access: take it back in your account there.",
        ),
    }
    return told[ended]


def result_of(provider: Provider, outcome: Checked, *, saved: bool = False) -> Result:
    """Return a test's outcome in words; of an earlier test, when that was."""
    tone = _TONES.get(outcome.category, "warn")
    heading = "Saved. " if saved else ""
    if outcome.cached:
        heading += f"Tested {naturaltime(outcome.checked_at)}:"
    elif tone in ("ok", "bad") and outcome.category != Category.MALFORMED:
        heading += f"{provider.name} answered in {outcome.latency_ms} ms."
    charged = " Nothing was charged." if outcome.category == Category.VALID else ""
    return Result(tone, heading.strip(), outcome.message + charged, again=outcome.cached)
