"""What the management commands share: a refusal is one clear line and exit code 1."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from digitalme.errors import DigitalMeError


class ProductCommand(BaseCommand):
    """A command that ends with the message of a DigitalMeError instead of a traceback."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except DigitalMeError as refusal:
            raise CommandError(refusal.message) from None
