"""Inbox, mails and webhooks."""

from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    """Inbox, mails and webhooks."""

    name = "digitalme.notifications"
    default_auto_field = "django.db.models.BigAutoField"
