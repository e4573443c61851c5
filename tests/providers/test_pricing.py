"""Prices equal those of the price list, and the ceiling lies above them."""

from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal

import genai_prices
import pytest
from genai_prices import data_snapshot
from hypothesis import given
from hypothesis import strategies as st

from providers import pricing, registry
from providers.counts import Usage
from providers.manifest import Manifest

NANO = Decimal("0.000000001")
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()


def manifest(slug: str) -> Manifest:
    return registry.get(slug).manifest


def models(provider: str) -> list[str]:
    """The models that are priced by the token alone."""
    found = data_snapshot.get_snapshot().find_provider(None, provider, None)
    now = datetime.now(UTC)
    priced = [one for one in found.models if {"input_mtok", "output_mtok"} & set(one.get_prices(now).__dict__)]
    return [one.id for one in priced if found.find_model(one.id) is not None]


def listed_price(provider: str, model: str, usage: Usage) -> Decimal:
    key, _, value = usage.variant.partition("=")
    counts = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        web_searches=usage.web_searches,
    )
    found = genai_prices.calc_price(counts, model, provider_id=provider, price_context={key: value} if key else None)
    return found.total_price.quantize(NANO, ROUND_HALF_EVEN)


def searches_are_listed(provider: str, model: str) -> bool:
    listed = data_snapshot.get_snapshot().find_provider(None, provider, None).find_model(model)
    assert listed is not None
    return getattr(listed.get_prices(datetime.now(UTC)), "web_searches_kcount", None) is not None


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    plain, cached, written = (draw(st.integers(0, 400_000)) for _ in range(3))
    return Usage(
        plain + cached + written,
        draw(st.integers(0, 200_000)),
        cached,
        written,
        cache_write_1h_tokens=draw(st.integers(0, written)),
        web_searches=draw(st.integers(0, 20)),
        variant=draw(st.sampled_from(["", "service_tier=flex", "service_tier=priority", "speed=fast"])),
    )


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@given(usage=usages(), data=st.data())
def test_every_price_is_the_price_lists(provider: str, usage: Usage, data: st.DataObject) -> None:
    model = data.draw(st.sampled_from(models(provider)))
    cost = pricing.price(manifest(provider), model, usage).cost
    expected = listed_price(provider, model, usage) if usage.total else 0
    # A search whose price the list does not have is not free.
    assert cost == expected or (cost is None and usage.web_searches and not searches_are_listed(provider, model))


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_the_tiers_of_every_model_begin_where_the_list_says(provider: str) -> None:
    for model in models(provider):
        for tokens in (1, 100_000, 128_000, 128_001, 200_000, 200_001, 272_000, 272_001, 1_000_000):
            usage = Usage(tokens, tokens // 10, tokens // 3, tokens // 5)
            assert pricing.price(manifest(provider), model, usage).cost == listed_price(provider, model, usage)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@given(usage=usages(), data=st.data())
def test_no_price_is_above_the_ceiling(provider: str, usage: Usage, data: st.DataObject) -> None:
    model = data.draw(st.sampled_from(models(provider)))
    plain = Usage(usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cache_write_tokens)
    room = data.draw(st.integers(0, 300_000))
    most = pricing.ceiling(manifest(provider), model, plain.input_tokens + room, plain.output_tokens + room)
    cost = pricing.price(manifest(provider), model, plain).cost
    assert most is not None
    assert cost is not None
    assert cost <= most


def test_it_names_the_list_it_read() -> None:
    found = pricing.price(manifest("openai"), "gpt-4o-mini", Usage(1000, 100))
    assert found.cost == Decimal("0.00021")
    assert found.version == f"genai-prices {genai_prices.__version__}"


def test_dated_names_are_known() -> None:
    assert pricing.price(manifest("openai"), "gpt-4o-2024-08-06", Usage(1000, 100)).cost == Decimal("0.0035")


def test_an_unknown_model_is_unpriced_not_free() -> None:
    assert pricing.price(manifest("openai"), "house-llm", Usage(1000, 100)).cost is None
    assert pricing.ceiling(manifest("openai"), "house-llm", 1000, 100) is None


def test_a_model_without_a_price_per_token_is_unpriced() -> None:
    assert pricing.ceiling(manifest("openai"), "tts-1", 1000, 100) is None


def test_what_takes_no_tokens_is_free() -> None:
    assert pricing.price(manifest("openai"), "", Usage(0, 0)) == pricing.FREE
    assert pricing.ceiling(manifest("openai"), "", 0, 0) == 0


def test_the_sandbox_is_free() -> None:
    assert pricing.price(manifest("sandbox"), "sandbox-1", Usage(1000, 100)) == pricing.FREE
    assert pricing.ceiling(manifest("sandbox"), "sandbox-1", 1000, 100) == 0


def test_prices_follow_the_date(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = Usage(1_000_000, 0)
    monkeypatch.setattr("time.time", lambda: datetime(2025, 1, 1, tzinfo=UTC).timestamp())
    assert pricing.price(manifest("openai"), "o3", usage).cost == 10
    monkeypatch.setattr("time.time", lambda: NOON)
    assert pricing.price(manifest("openai"), "o3", usage).cost == 2


def test_it_warms_without_a_call() -> None:
    pricing.warm()
