"""The transfer application: imports that can be undone, backups."""

from django.apps import AppConfig


class TransferConfig(AppConfig):
    """It owns the traces of imports."""

    name = "digitalme.transfer"
    default_auto_field = "django.db.models.BigAutoField"
