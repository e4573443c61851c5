from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Users, teams, roles and access tokens."""

    name = "digitalme.accounts"
    default_auto_field = "django.db.models.BigAutoField"
