"""The usage application."""

from datetime import UTC, datetime
from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class UsageConfig(AppConfig):
    """A record for every call, and what pages make of them."""

    name = "usage"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """See after every migration that the coming months have their tables."""
        post_migrate.connect(_make_ahead, sender=self, dispatch_uid="usage.make_ahead")


def _make_ahead(**_signal: Any) -> None:
    from usage import partitions

    partitions.make_ahead(now=datetime.now(UTC))
