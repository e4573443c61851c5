"""Provider definitions that were installed at run time, and the switches of the built-in ones."""

import uuid

from django.db import models


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
