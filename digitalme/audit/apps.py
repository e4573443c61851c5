"""The audit application."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class AuditConfig(AppConfig):
    """The trail of all changes."""

    name = "digitalme.audit"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """See after every migration that an empty trail has its beginning."""
        post_migrate.connect(_begin, sender=self, dispatch_uid="digitalme.audit.begin")


def _begin(**_signal: Any) -> None:
    from digitalme.audit import log

    log.begin()
