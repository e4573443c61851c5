"""Warnings."""

from django.apps import AppConfig


class AlertsConfig(AppConfig):
    """Warnings."""

    name = "digitalme.alerts"
    default_auto_field = "django.db.models.BigAutoField"
