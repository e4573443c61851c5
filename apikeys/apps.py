"""The application: its keys are checked wherever Django checks itself."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core import checks


class ApiKeysConfig(AppConfig):
    """The apikeys application."""

    name = "apikeys"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Have the keys of the house checked wherever Django checks itself.

        Not here and now: --help and generate_master_key work without keys. The web server, which
        runs no system checks, loads the key ring before it takes its first connection.
        """
        checks.register(house_keys, checks.Tags.security)


def house_keys(app_configs: Sequence[AppConfig] | None = None, **options: Any) -> list[checks.CheckMessage]:
    """Refuse missing, short, repeated, sequential, sample or equal keys of the house."""
    from apikeys import keyring

    try:
        keyring.ring()
    except keyring.UnusableKey as problem:
        return [checks.Critical(str(problem), id="apikeys.E001")]
    return []
