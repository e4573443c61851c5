from django.apps import AppConfig


class ApiKeysConfig(AppConfig):
    """The apikeys application."""

    name = "apikeys"
    default_auto_field = "django.db.models.BigAutoField"
