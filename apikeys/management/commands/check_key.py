"""Test a stored key from the command line."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apikeys import checks, keyring, masters
from apikeys.management.commands.set_key import name_of, owner_of
from apikeys.models import Credential
from digitalme.errors import DigitalMeError
from providers import registry
from providers.outcomes import Category

WORKS = (Category.VALID, Category.LIMITED)


class Command(BaseCommand):
    help = "Ask the provider whether it accepts a stored key; exits with 1 unless it does."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("provider", metavar="PROVIDER", help="such as openai or anthropic")
        owner = parser.add_mutually_exclusive_group(required=True)
        owner.add_argument("--system", action="store_true", help="the house's own key")
        owner.add_argument("--user", metavar="EMAIL", help="a person's own key")
        owner.add_argument("--team", metavar="SLUG", help="a key that a team shares")
        parser.add_argument("--label", metavar="WORD", default="", help="which one, where an owner may keep several")

    def handle(self, *args: Any, **options: Any) -> None:
        owner = owner_of(options["user"], options["team"])
        try:
            masters.verify()
            provider = registry.get(options["provider"])
            stored = Credential.objects.filter(**owner.columns, provider=provider.slug, label=options["label"])
            credential = stored.select_related("salt").first()
            if credential is None:
                raise CommandError(f"There is no stored {provider.name} key of {name_of(options)}.")
            outcome = checks.test_credential(credential, force=True)
        except (DigitalMeError, keyring.UnusableKey) as problem:
            raise CommandError(str(problem)) from None
        told = f"{provider.name}, {outcome.category}: {outcome.message}"
        if outcome.category not in WORKS:
            raise CommandError(told)
        self.stdout.write(told)
