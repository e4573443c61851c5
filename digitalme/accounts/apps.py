"""Users, teams, roles and access tokens."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class AccountsConfig(AppConfig):
    """Users, teams, roles and access tokens."""

    name = "digitalme.accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Keep the roles' permissions in step with the code after every migration, and listen to the sign-in pages."""
        from digitalme.accounts import roles, sign_ins

        sign_ins.listen()
        post_migrate.connect(roles.sync, sender=self, dispatch_uid="digitalme.accounts.roles")
