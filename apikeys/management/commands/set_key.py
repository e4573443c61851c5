"""Add or replace a key."""

import sys
from typing import Any

from django.core.management.base import CommandParser

from apikeys import keys
from apikeys.keys import Owner
from digitalme.accounts import people
from digitalme.commands import ProductCommand
from digitalme.errors import InvalidRequest
from providers import registry
from providers.registry import Provider


class Command(ProductCommand):
    help = "Read a key from standard input and keep it sealed, for the house, a user or a team."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("provider")
        owner = parser.add_mutually_exclusive_group(required=True)
        owner.add_argument("--system", action="store_true", help="the house's own key, for everybody's demo")
        owner.add_argument("--user", metavar="EMAIL")
        owner.add_argument("--team", metavar="SLUG")
        parser.add_argument("--field", metavar="NAME", help="which field of the credential; default: the first")

    def handle(self, *args: Any, **options: Any) -> None:
        provider = registry.get(options["provider"])
        field = options["field"] or _first_field(provider)
        credential, is_new = keys.set_key(
            owner=_owner(options), provider=provider, fields={field: sys.stdin.read().strip("\r\n")}
        )
        done = "Added" if is_new else "Replaced"
        self.stdout.write(
            f"{done} the {provider.name} key of {credential.owner}, fingerprint {credential.fingerprint[:10]}."
        )


def _owner(options: dict[str, Any]) -> Owner:
    if options["user"]:
        return Owner(user=people.user_with(options["user"]))
    return Owner(team=people.team_with(options["team"])) if options["team"] else keys.SYSTEM


def _first_field(provider: Provider) -> str:
    if not provider.manifest.fields:
        raise InvalidRequest(f"{provider.name} needs no key.")
    return provider.manifest.fields[0].name
