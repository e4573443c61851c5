"""The usage application."""

from django.apps import AppConfig


class UsageConfig(AppConfig):
    """A record for every call, and what pages make of them."""

    name = "usage"
    default_auto_field = "django.db.models.BigAutoField"
