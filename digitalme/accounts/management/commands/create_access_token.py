"""Make an access token for a user."""

from typing import Any

from django.core.management.base import CommandParser

from digitalme.accounts import people, tokens
from digitalme.commands import ProductCommand


class Command(ProductCommand):
    help = "Make an access token and print it, alone; it cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--name", default="command line", help="what the token is for")
        parser.add_argument("--scopes", nargs="+", default=list(tokens.SCOPES), metavar="SCOPE", help="default: all")
        parser.add_argument(
            "--days", type=int, default=tokens.DEFAULT_LIFETIME_DAYS, help="lifetime; 0 for a token without an end"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        scopes = [scope for entry in options["scopes"] for scope in entry.split(",") if scope]
        _, token = tokens.issue(
            user=people.user_with(options["email"]),
            name=options["name"],
            scopes=scopes,
            lifetime_days=options["days"] or None,
        )
        self.stdout.write(token)
