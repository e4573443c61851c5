"""Make an access token from the command line."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from digitalme.accounts import tokens
from digitalme.accounts.models import User
from digitalme.errors import DigitalMeError


class Command(BaseCommand):
    help = "Make an access token for a user and print it, and nothing else. It cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", metavar="EMAIL", help="whose token it is")
        parser.add_argument("--name", default="command line", help="what the token is called on pages")
        parser.add_argument(
            "--scopes", nargs="+", default=list(tokens.SCOPES), metavar="SCOPE", help=f"of {', '.join(tokens.SCOPES)}"
        )
        lifetime = parser.add_mutually_exclusive_group()
        lifetime.add_argument(
            "--days", type=int, default=tokens.DEFAULT_LIFETIME_DAYS, help="how long it lives, 90 days by default"
        )
        lifetime.add_argument("--no-expiry", action="store_true", help="it lives until it is revoked")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(email__iexact=options["email"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['email']}.")
        if not user.is_active:
            raise CommandError(f"The account of {user.email} is disabled.")
        days = None if options["no_expiry"] else options["days"]
        try:
            _, token = tokens.issue(user=user, name=options["name"], scopes=options["scopes"], lifetime_days=days)
        except DigitalMeError as problem:
            raise CommandError(problem.message) from None
        self.stdout.write(token)
