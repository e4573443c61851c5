"""Prices that the house has entered: of models that the price list does not know, or where others were agreed."""

from collections.abc import Mapping
from typing import NamedTuple

from providers.counts import Usage

_PER_MILLION = 1_000_000


class Agreed(NamedTuple):
    """A price in whole billionths of a dollar: for a million tokens, a million searches, one picture. `input` is None
    for what is billed by pictures alone; `minute` is the first one, counted as pricing counts them."""

    model: str
    minute: int
    version: str
    input: int | None
    output: int
    cached: int
    cache_write: int
    search: int
    each: int | None

    def fits(self, model: str, minute: int) -> bool:
        """Whether it is the price of this model at this time, unless a closer or later one is."""
        named = model.startswith(self.model[:-1]) if self.model.endswith("*") else model == self.model
        return named and self.minute <= minute

    def cost(self, usage: Usage) -> int | None:
        """Return millionths of billionths of a dollar; None if this price does not say what such a usage costs."""
        pictures = None if self.each is None else usage.units * self.each * _PER_MILLION
        if self.input is None or usage.untold:
            return pictures or None
        plain = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
        return (
            plain * self.input
            + usage.output_tokens * self.output
            + usage.cached_tokens * self.cached
            + usage.cache_write_tokens * self.cache_write
            + usage.web_searches * self.search
            + (pictures or 0)
        )

    def most(self, input_tokens: int, output_tokens: int, units: int) -> int:
        """Return the most that such a call can cost, in the same measure."""
        dearest = max(self.input or 0, self.cached, self.cache_write)
        return input_tokens * dearest + output_tokens * self.output + units * (self.each or 0) * _PER_MILLION


Prices = Mapping[str, tuple[Agreed, ...]]


def find(prices: Prices, slug: str, model: str, minute: int) -> Agreed | None:
    """Return the price of a model at a time, if the house has one."""
    return next((one for one in prices.get(slug, ()) if one.fits(model, minute)), None)
