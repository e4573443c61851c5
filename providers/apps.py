"""The application: it owns the definitions that were installed while the product runs."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.db.models.signals import post_migrate


class ProvidersConfig(AppConfig):
    """The providers application."""

    name = "providers"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """See after every migration that each built-in provider has its row, and have the operator's folder
        checked wherever Django checks itself."""
        post_migrate.connect(_list_built_in, sender=self, dispatch_uid="providers.list_built_in")
        checks.register(folder)


def _list_built_in(**_signal: Any) -> None:
    from providers import definitions

    definitions.list_built_in()


def folder(app_configs: Sequence[AppConfig] | None = None, **options: Any) -> list[checks.CheckMessage]:
    """Tell which files of the operator's folder cannot be used."""
    from providers import installed

    return [checks.Error(problem, id="providers.E001") for problem in installed.folder().problems]
