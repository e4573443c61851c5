"""What calls cost: by the provider's own word, the house's prices, or the list that genai-prices carries."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from providers import prices, registry
from providers.counts import Usage
from providers.manifest import Manifest
from providers.operations import Operation
from providers.prices import Agreed

NANO = Decimal("0.000000001")
_TOKEN_PRICES = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok")
_NANO_PER_DOLLAR = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars with nine decimals, None if the price is not known; and whose price list it was."""

    cost: Decimal | None
    version: str


FREE = Price(Decimal(0), "manifest")
VERSION = f"genai-prices {version('genai-prices')}"


@dataclass(frozen=True, slots=True)
class _Rates:
    """Prices that hold above `start` input tokens, in whole billionths of a dollar per million tokens."""

    start: int
    input: int
    output: int
    cached: int
    write: int
    write_1h: int
    search: int  # per million searches, so that all sums have one divisor
    audio: int
    image: int
    audio_made: int
    image_made: int

    def cost(self, usage: Usage) -> int:
        """Return millionths of billionths of a dollar."""
        plain = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
        return (
            plain * self.input
            + usage.output_tokens * self.output
            + usage.cached_tokens * self.cached
            + (usage.cache_write_tokens - usage.cache_write_1h_tokens) * self.write
            + usage.cache_write_1h_tokens * self.write_1h
            + usage.web_searches * self.search
            + usage.audio_tokens * (self.audio - self.input)
            + usage.image_tokens * (self.image - self.input)
            + usage.audio_made * (self.audio_made - self.output)
            + usage.image_made * (self.image_made - self.output)
        )


def warm() -> None:
    """Load the price list now (about 0.3 s), so that no call waits for it."""
    _rates("openai", "gpt-4o-mini", "", _minute())


def price(
    manifest: Manifest, model: str, usage: Usage, operation: Operation | None = None, *, at: datetime | None = None
) -> Price:
    """Return what this usage costs by the prices of a time, else of now; None as cost if the price is not known.

    What the provider itself says that the call cost comes first, then a price for each call, then what the house has
    entered, then the price list.
    """
    if usage.cost is not None:
        return Price(usage.cost.quantize(NANO, ROUND_HALF_EVEN), "provider")
    if operation is not None and operation.unit_price is not None:
        return Price((operation.unit_price * usage.units).quantize(NANO), "manifest")
    minute = _minute() if at is None else int(at.timestamp()) // 60
    if agreed := _agreed(manifest.slug, model, usage, minute):
        parts = agreed.cost(usage)
        return Price(None if parts is None else _dollars(parts), agreed.version)
    if manifest.price_provider is None:
        return FREE
    if usage.untold:
        return Price(None, VERSION)
    if usage.characters or usage.seconds:
        cost = _spoken(manifest.price_provider, model, usage.characters, usage.seconds, minute)
        if cost is not None:
            return Price(cost, VERSION)
    if not (usage.input_tokens or usage.output_tokens):
        return Price(None, VERSION) if usage.characters or usage.seconds else FREE
    rates = _rates(manifest.price_provider, model, usage.variant, minute)
    if rates is None:
        return Price(None, VERSION)
    found = _at(rates, usage.input_tokens)
    if usage.web_searches and not found.search:
        return Price(None, VERSION)  # what the list does not know is not free
    return Price(_dollars(found.cost(usage)), VERSION)


def ceiling(
    manifest: Manifest,
    model: str,
    input_tokens: int,
    output_tokens: int,
    operation: Operation | None = None,
    *,
    characters: int = 0,
    seconds: int = 0,
    units: int = 0,
) -> Decimal | None:
    """Return the most that such a call can cost in US dollars: everything at the dearest rate, nothing
    read from a cache; `units` are pictures. What is billed by characters or seconds costs that, whatever its
    tokens. None if the model's price is not known."""
    if operation is not None and operation.unit_price is not None:
        return operation.unit_price
    minute = _minute()
    agreed = prices.find(house, manifest.slug, model, minute) if (house := registry.prices()) else None
    if agreed is not None:
        return _dollars(agreed.most(input_tokens, output_tokens, units))
    if manifest.price_provider is None or not (input_tokens or output_tokens):
        return FREE.cost
    spoken = Decimal(seconds)
    if (characters or seconds) and (cost := _spoken(manifest.price_provider, model, characters, spoken, minute)):
        return cost
    rates = _rates(manifest.price_provider, model, "", minute)
    if rates is None:
        return None
    # A call may turn out shorter than feared and fall into a lower tier: take the dearest of those
    # within reach.
    within = [one for one in rates if one.start < input_tokens or one.start == 0]
    dearest = max(max(one.input, one.cached, one.write, one.write_1h, one.audio, one.image) for one in within)
    made = max(max(one.output, one.audio_made, one.image_made) for one in within)
    return _dollars(input_tokens * dearest + output_tokens * made)


def _agreed(slug: str, model: str, usage: Usage, minute: int) -> Agreed | None:
    """Return the house's own price for this usage, if it has one; what took nothing needs none."""
    house = registry.prices()
    if not house or not (usage.total or usage.untold or usage.units or usage.characters or usage.seconds):
        return None
    return prices.find(house, slug, model, minute)


def _minute() -> int:
    """Return the minute: prices change by date, some by the time of day."""
    return int(time.time()) // 60


def _dollars(parts: int) -> Decimal:
    return Decimal(parts).scaleb(-15).quantize(NANO, ROUND_HALF_EVEN)


def _at(rates: tuple[_Rates, ...], input_tokens: int) -> _Rates:
    found = rates[0]
    for one in rates[1:]:
        if input_tokens > one.start:
            found = one
    return found


def _spoken(provider: str, model: str, characters: int, seconds: Decimal, minute: int) -> Decimal | None:
    """Return what characters or seconds cost, None where the model is not billed by them."""
    listed = _listed(provider, model)
    if listed is None:
        return None
    now = listed.get_prices(datetime.fromtimestamp(minute * 60, UTC))
    by_character, by_hour = getattr(now, "input_mchars", None), getattr(now, "input_audio_hours", None)
    if characters and by_character is not None:
        return Decimal(by_character * characters / 1_000_000).quantize(NANO, ROUND_HALF_EVEN)
    if seconds and by_hour is not None:
        return Decimal(by_hour * seconds / 3600).quantize(NANO, ROUND_HALF_EVEN)
    return None


def _listed(provider: str, model: str) -> Any:
    """Return the price list's entry of a model, None if it has none."""
    # Takes 0.3 s and 20 MB, so only processes that price calls pay for it.
    from genai_prices import data_snapshot

    # Not through calc_price: it remembers every name it is asked for, and callers choose the names.
    snapshot = data_snapshot.get_snapshot()
    try:
        return snapshot.find_provider(None, provider, None).find_model(model, all_providers=snapshot.providers)
    except LookupError:
        return None


@lru_cache(maxsize=4096)
def _rates(provider: str, model: str, variant: str, minute: int) -> tuple[_Rates, ...] | None:
    """Return the rates of a model by rising start, None if it has no price per token."""
    listed = _listed(provider, model)
    if listed is None:
        return None
    key, _, value = variant.partition("=")
    now = listed.get_prices(datetime.fromtimestamp(minute * 60, UTC), {key: value} if key else None)
    if now.input_mtok is None and now.output_mtok is None:
        return None
    every = [getattr(now, name) for name in _TOKEN_PRICES]
    starts = {0} | {tier.start for one in every if hasattr(one, "tiers") for tier in one.tiers}
    return tuple(_rates_above(now, start) for start in sorted(starts))


def _rates_above(listed: Any, start: int) -> _Rates:
    """Return the rates that hold just above `start` input tokens. What has no rate of its own is billed
    as what it is a part of."""

    def rate(name: str, otherwise: int = 0) -> int:
        value: Any = getattr(listed, name, None)
        if hasattr(value, "tiers"):
            reached = [tier.price for tier in value.tiers if tier.start <= start and start > 0]
            value = reached[-1] if reached else value.base
        return otherwise if value is None else int(value * _NANO_PER_DOLLAR)

    plain = rate("input_mtok")
    write, made = rate("cache_write_mtok", plain), rate("output_mtok")
    return _Rates(
        start=start,
        input=plain,
        output=made,
        cached=rate("cache_read_mtok", plain),
        write=write,
        write_1h=rate("cache_write_1h_mtok", write),
        search=rate("web_searches_kcount") * 1_000,
        audio=rate("input_audio_mtok", plain),
        image=rate("input_image_mtok", plain),
        audio_made=rate("output_audio_mtok", made),
        image_made=rate("output_image_mtok", made),
    )
