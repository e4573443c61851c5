from django.apps import AppConfig


class UsageConfig(AppConfig):
    """The usage application."""

    name = "usage"
    default_auto_field = "django.db.models.BigAutoField"
