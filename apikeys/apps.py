"""The application: its keys are checked wherever Django checks itself, and before a worker works."""

import sys
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from celery import signals
from django.apps import AppConfig
from django.core import checks

from digitalme.notifications import signing
from providers.secrets import Secret


class ApiKeysConfig(AppConfig):
    """The apikeys application."""

    name = "apikeys"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Have the keys of the house checked wherever Django checks itself, and by workers before their first job.

        Not here and now: --help and generate_master_key work without keys. The web server, which
        runs no system checks, loads the key ring before it takes its first connection.
        """
        checks.register(house_keys, checks.Tags.security)
        # Celery offers no other way to do something once in the worker, and in each process of its pool.
        signals.worker_init.connect(_check_before_work)
        signals.worker_process_init.connect(_begin_heartbeat)
        signing.open_secrets_with(_secret_of_webhook)


def house_keys(app_configs: Sequence[AppConfig] | None = None, **options: Any) -> list[checks.CheckMessage]:
    """Refuse missing, short, repeated, sequential, sample or equal keys of the house."""
    from django.conf import settings

    from apikeys import keyring

    try:
        keyring.check(settings)
    except keyring.UnusableKey as problem:
        return [checks.Critical(str(problem), id="apikeys.E001")]
    return []


def _secret_of_webhook(webhook_id: UUID) -> Secret:
    from apikeys import webhook_secrets

    return webhook_secrets.opened(webhook_id)


def _check_before_work(**_: Any) -> None:
    """End the worker with one sentence and exit code 1 if it holds wrong keys; an exception would only be logged."""
    from django.db import connections

    from apikeys import keyring, masters

    try:
        masters.verify()
    except keyring.UnusableKey as problem:
        sys.exit(str(problem))
    finally:
        connections.close_all()  # the processes of the pool must not share one


def _begin_heartbeat(**_: Any) -> None:
    """Say from now on which keys this process of the pool holds; it ends with the process."""
    from apikeys import keyring
    from apikeys.heartbeat import Heartbeat

    try:
        Heartbeat("worker").start()
    except keyring.UnusableKey as problem:
        sys.exit(str(problem))
