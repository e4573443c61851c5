from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class QuotasConfig(AppConfig):
    """The quotas application."""

    name = "quotas"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        post_migrate.connect(_default_tier, sender=self)


def _default_tier(**kwargs: Any) -> None:
    from quotas import policy

    policy.ensure_default_tier()
