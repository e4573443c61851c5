"""The quotas application."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class QuotasConfig(AppConfig):
    """Limits, allocations and the ledger."""

    name = "quotas"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """See after every migration that there is a default tier."""
        post_migrate.connect(_default_tier, sender=self, dispatch_uid="quotas.default_tier")


def _default_tier(**_signal: Any) -> None:
    from quotas import policy

    policy.ensure_default_tier()
