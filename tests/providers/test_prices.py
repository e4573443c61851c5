"""Golden costs, to the cent and beyond, and the house's own prices before the list's."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from digitalme.accounts.roles import Role
from digitalme.audit.models import AuditEvent
from providers import price_rows, pricing, registry
from providers.counts import Usage
from providers.models import ModelPrice
from tests.apikeys.test_admin import staff

PAGE = "/admin/providers/modelprice/"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)

# What the providers' price pages ask for; each sum was made by hand.
GOLDEN: list[tuple[str, str, Usage, str]] = [
    # 800 at 0.15, 200 cached at 0.075, 500 made at 0.60
    ("openai", "gpt-4o-mini", Usage(1000, 500, 200), "0.000435"),
    # 6,000 at 1.25, 4,000 cached at 0.125, 2,000 made at 10, of which 1,500 reasoning: part of the output
    ("openai", "gpt-5", Usage(10_000, 2_000, 4_000, 0, 1_500), "0.028"),
    ("openai", "gpt-5", Usage(10_000, 2_000, variant="processing=batch"), "0.01625"),
    ("openai", "text-embedding-3-small", Usage(1_000_000, 0), "0.02"),
    # 50 of text at 5, 1,000 of pictures at 10, 4,000 made at 40
    ("openai", "gpt-image-1", Usage(1_050, 4_000, image_tokens=1_000), "0.17025"),
    ("openai", "whisper-1", Usage(0, 0, seconds=Decimal(90)), "0.009"),
    ("openai", "tts-1", Usage(250, 600, characters=1_000), "0.015"),
    # 10,000 at 3, 5,000 read at 0.30, 1,500 written for five minutes at 3.75, 500 for an hour at 6, 1,000 made at 15
    ("anthropic", "claude-sonnet-4-5", Usage(17_000, 1_000, 5_000, 2_000, cache_write_1h_tokens=500), "0.055125"),
    # and two searches at 10 a thousand
    ("anthropic", "claude-opus-4-5", Usage(1_000, 1_000, web_searches=2), "0.05"),
    # above 200,000 tokens everything is dearer
    ("anthropic", "claude-sonnet-4-5", Usage(300_000, 1_000), "1.8225"),
    # 600 at 0.30, 400 cached at 0.03, 1,000 made at 2.50, and a search at 35 a thousand
    ("google", "gemini-2.5-flash", Usage(1_000, 1_000, 400, web_searches=1), "0.037692"),
    ("google", "gemini-3-pro-preview", Usage(1_000, 100, web_searches=3), "0.0452"),
    ("sandbox", "sandbox-1", Usage(1_000, 100), "0"),
]


def price(provider: str, model: str, usage: Usage, at: datetime = NOON) -> pricing.Price:
    return pricing.price(registry.get(provider).manifest, model, usage, at=at)


@pytest.mark.once
@pytest.mark.parametrize(("provider", "model", "usage", "cost"), GOLDEN)
def test_the_cost_is_what_the_provider_asks_for(provider: str, model: str, usage: Usage, cost: str) -> None:
    assert price(provider, model, usage).cost == Decimal(cost)


@pytest.mark.once
@pytest.mark.parametrize(
    ("provider", "model", "usage"),
    [
        ("openai", "house-llm", Usage(10, 10)),
        ("openai", "dall-e-3", Usage(0, 0, untold=True, units=1)),
        # A search whose price the list does not know.
        ("openai", "gpt-4o-search-preview", Usage(10, 10, web_searches=1)),
    ],
)
def test_what_is_not_known_is_not_free(provider: str, model: str, usage: Usage) -> None:
    assert price(provider, model, usage).cost is None


def enter(model: str, day: date = date(2026, 11, 1), **rates: Any) -> ModelPrice:
    given = {name: Decimal(rate) for name, rate in rates.items()}
    row = ModelPrice(provider="openai", model=model, valid_from=day, **given)
    price_rows.add(row)
    return row


@pytest.mark.django_db
def test_a_price_of_the_house_holds_from_its_day_on() -> None:
    first = enter("house-llm", input="2", output="8", cached="0.5")
    second = enter("house-llm", date(2026, 11, 20), input="1", output="4")
    usage = Usage(1_000_000, 1_000_000, 400_000)
    found = price("openai", "house-llm", usage, datetime(2026, 11, 19, 23, 59, tzinfo=UTC))
    assert (found.cost, found.version) == (Decimal("9.4"), f"house {first.pk} of 2026-11-01")
    found = price("openai", "house-llm", usage, datetime(2026, 11, 20, tzinfo=UTC))
    assert (found.cost, found.version) == (Decimal(5), f"house {second.pk} of 2026-11-20")
    assert price("openai", "house-llm", usage, datetime(2026, 10, 31, tzinfo=UTC)).cost is None
    assert price("anthropic", "house-llm", usage).cost is None
    price_rows.remove(second)
    assert price("openai", "house-llm", usage).cost == Decimal("9.4")


@pytest.mark.django_db
def test_it_comes_before_the_list_and_the_closest_name_wins() -> None:
    enter("gpt-4o*", input="1", output="1")
    enter("gpt-4o-mini*", input="2", output="2")
    enter("gpt-4o-mini-2024-07-18", input="3", output="3", cache_write="5", search="10")
    usage = Usage(1_000_000, 0)
    assert [price("openai", model, usage).cost for model in ("gpt-4o", "gpt-4o-mini", "gpt-4o-mini-2024-07-18")] == [
        1,
        2,
        3,
    ]
    assert price("openai", "gpt-4o-mini-2024-07-18", Usage(1000, 0, 0, 1000, web_searches=2)).cost == Decimal("0.025")
    assert price("openai", "gpt-5", usage).cost == Decimal("1.25")
    manifest = registry.get("openai").manifest
    assert pricing.ceiling(manifest, "gpt-4o-mini-2024-07-18", 1_000_000, 1_000_000) == 8
    assert price("openai", "gpt-4o", Usage(0, 0)) == pricing.FREE


@pytest.mark.django_db
def test_pictures_that_tell_no_tokens_have_a_price_each() -> None:
    enter("dall-e-3", each="0.04")
    assert price("openai", "dall-e-3", Usage(0, 0, untold=True, units=3)).cost == Decimal("0.12")
    assert price("openai", "dall-e-3", Usage(0, 0, untold=True)).cost is None
    assert pricing.ceiling(registry.get("openai").manifest, "dall-e-3", 10_000, 20_000, units=2) == Decimal("0.08")


@pytest.mark.django_db
@pytest.mark.parametrize("rates", [{}, {"input": "1"}, {"input": "-1", "output": "1"}])
def test_a_price_of_nothing_is_none(rates: dict[str, str]) -> None:
    given = {name: Decimal(rate) for name, rate in rates.items()}
    with pytest.raises(ValidationError):
        ModelPrice(provider="openai", model="x", valid_from=date(2026, 11, 1), **given).full_clean()


@pytest.mark.django_db
def test_administrators_enter_and_remove_prices_and_change_none() -> None:
    given = {"provider": "openai", "model": "house-llm", "valid_from": "2026-11-01", "input": "2", "output": "8"}
    support, boss = staff(Role.SUPPORT), staff(Role.ADMIN)
    assert support.post(f"{PAGE}add/", given).status_code == 403
    assert boss.post(f"{PAGE}add/", given, follow=True).status_code == 200
    row = ModelPrice.objects.get()
    assert price("openai", "house-llm", Usage(1_000_000, 0)).cost == 2
    assert support.get(f"{PAGE}{row.pk}/change/").status_code == 200
    boss.post(f"{PAGE}{row.pk}/change/", {**given, "input": "9"})
    row.refresh_from_db()
    assert row.input == 2
    assert boss.post(f"{PAGE}add/", given, follow=True).status_code == 200
    assert ModelPrice.objects.count() == 1
    boss.post(f"{PAGE}{row.pk}/delete/", {"post": "yes"})
    assert not ModelPrice.objects.exists()
    trail = AuditEvent.objects.filter(action__startswith="price.").order_by("pk").values_list("action", "target")
    assert list(trail) == [("price.set", f"price:{row.pk}"), ("price.removed", f"price:{row.pk}")]


def test_strangers_see_no_prices(client: Client, db: None) -> None:
    assert client.get(PAGE).status_code == 302
