"""Inbox, mails and webhooks."""

from importlib import import_module

from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    """Inbox, mails and webhooks."""

    name = "digitalme.notifications"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Know the jobs in every process that asks for one, not only where they are done."""
        import_module("digitalme.notifications.tasks")
