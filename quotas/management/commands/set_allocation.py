"""Give a user a limit of their own."""

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import CommandError, CommandParser

from digitalme.accounts import people
from digitalme.commands import ProductCommand
from providers import registry
from quotas import policy
from quotas.models import ALL_PROVIDERS, LimitType


class Command(ProductCommand):
    help = "Give a user a limit of their own, from the current period on; what is used stays used."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--provider", required=True, help="a provider, or 'all' for all of them together")
        parser.add_argument("--type", required=True, choices=LimitType.values)
        parser.add_argument("--requests", type=int)
        parser.add_argument("--tokens", type=int)
        parser.add_argument("--cost", type=_dollars, help="US dollars")

    def handle(self, *args: Any, **options: Any) -> None:
        slug = options["provider"]
        row = policy.set_allocation(
            user=people.user_with(options["email"]),
            provider=ALL_PROVIDERS if slug == "all" else registry.get(slug).slug,
            type=options["type"],
            requests=options["requests"],
            tokens=options["tokens"],
            cost=options["cost"],
            now=datetime.now(UTC),
        )
        self.stdout.write(f"Set the {row.get_type_display()} limit until {row.period_end:%Y-%m-%d %H:%M} UTC.")


def _dollars(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise CommandError("The cost must be a number of US dollars.") from None
