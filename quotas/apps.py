from django.apps import AppConfig


class QuotasConfig(AppConfig):
    """The quotas application."""

    name = "quotas"
    default_auto_field = "django.db.models.BigAutoField"
