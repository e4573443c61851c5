"""Provider definitions that were installed at run time, the switches of the built-in ones, and prices."""

import uuid
from typing import Any

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q

from digitalme.database import MoneyField


class ProviderDefinition(models.Model):
    """One provider. The definition of a built-in one is empty here: it comes with the product."""

    slug = models.CharField(max_length=32, primary_key=True)
    definition = models.TextField(blank=True, default="", help_text="TOML.")
    is_enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = "provider"

    def __str__(self) -> str:
        return self.slug

    @property
    def is_built_in(self) -> bool:
        """Whether it comes with the product."""
        return not self.definition


class CatalogueStamp(models.Model):
    """One row that changes whenever a definition does, so that every process sees it by reading one value."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    stamp = models.UUIDField(default=uuid.uuid4)

    def __str__(self) -> str:
        return str(self.stamp)


def _rate(text: str) -> Any:
    return MoneyField(null=True, blank=True, validators=[MinValueValidator(0)], help_text=text)


class ModelPrice(models.Model):
    """What a model costs from a day on, in US dollars. It comes before the price list. A row is never changed, since
    records name it: another price is another row, with the day from which it holds."""

    provider = models.CharField(max_length=32, help_text="The provider's slug.")
    model = models.CharField(max_length=128, help_text="The model's name; a final * stands for any ending.")
    valid_from = models.DateField(help_text="The first day, in UTC.")
    input = _rate("For a million input tokens.")
    output = _rate("For a million output tokens.")
    cached = _rate("For a million tokens read from a cache; as input if empty.")
    cache_write = _rate("For a million tokens written to a cache; as input if empty.")
    search = _rate("For a thousand web searches; nothing if empty.")
    each = _rate("For each picture, where the provider bills pictures and tells no tokens.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "price"
        ordering = ["provider", "model", "-valid_from"]
        constraints = [
            models.UniqueConstraint(name="price_unique", fields=["provider", "model", "valid_from"]),
            models.CheckConstraint(
                name="price_of_something",
                condition=Q(input__isnull=False, output__isnull=False) | Q(each__isnull=False),
                violation_error_message="Give the prices of input and output tokens, or that of each picture.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.model} from {self.valid_from}"
