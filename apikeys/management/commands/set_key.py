"""Add or replace a key from the command line."""

import getpass
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apikeys import keyring, keys, masters
from apikeys.keys import Owner
from digitalme.accounts.models import Team, User
from digitalme.errors import DigitalMeError
from providers import registry
from providers.registry import Provider


class Command(BaseCommand):
    help = "Add or replace the key of a user, a team or the house. The secret is read from standard input."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("provider", metavar="PROVIDER", help="such as openai or anthropic")
        owner = parser.add_mutually_exclusive_group(required=True)
        owner.add_argument("--system", action="store_true", help="the house's own key, for everybody's demo")
        owner.add_argument("--user", metavar="EMAIL", help="a person's own key")
        owner.add_argument("--team", metavar="SLUG", help="a key that a team shares")
        parser.add_argument("--field", metavar="NAME", help="which field the secret is; by default the first")

    def handle(self, *args: Any, **options: Any) -> None:
        owner = _owner(options["user"], options["team"])
        try:
            masters.verify()
            provider = registry.get(options["provider"])
            credential = keys.set_key(
                actor=None,
                owner=owner,
                provider=provider,
                fields={_field(provider, options["field"]): _secret(provider)},
            )
        except (DigitalMeError, keyring.UnusableKey) as problem:
            raise CommandError(str(problem)) from None
        self.stdout.write(f"{provider.name}: key set for {_name(options)} (version {credential.version}).")


def _owner(email: str | None, slug: str | None) -> Owner:
    if email is not None:
        user = User.objects.filter(email__iexact=email).first()
        if user is None:
            raise CommandError(f"There is no user {email}.")
        return Owner("user", user.pk)
    if slug is not None:
        team = Team.objects.filter(slug=slug).first()
        if team is None:
            raise CommandError(f"There is no team {slug}.")
        return Owner("team", team.pk)
    return keys.SYSTEM


def _name(options: dict[str, Any]) -> str:
    return options["user"] or (f"the team {options['team']}" if options["team"] else "the house")


def _field(provider: Provider, name: str | None) -> str:
    fields = [field.name for field in provider.manifest.fields]
    return name or (fields[0] if fields else "")


def _secret(provider: Provider) -> str:
    """Read from a pipe to its end, or from a terminal one line that is not shown."""
    return getpass.getpass(f"{provider.name} key: ") if sys.stdin.isatty() else sys.stdin.read()
