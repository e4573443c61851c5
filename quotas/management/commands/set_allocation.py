"""Give a user a limit of their own."""

from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from digitalme.accounts import people
from digitalme.commands import ProductCommand
from quotas import limits
from quotas.models import ALL_PROVIDERS, Binds, LimitType


class Command(ProductCommand):
    """Safe to repeat: the same arguments leave the same limit."""

    help = (
        "Give a user a limit of their own, at once and for all periods to come. What is used already stays used; "
        "an amount that is not given stays as it is."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--provider", required=True, help="a slug, 'all' for all together, '*' for each by itself")
        parser.add_argument("--type", required=True, help=f"one of {', '.join(LimitType.values)}")
        parser.add_argument("--requests", help="whole number")
        parser.add_argument("--tokens", help="whole number")
        parser.add_argument("--cost", help="US dollars")
        parser.add_argument("--binds", help=f"whose keys the counted calls run on: {', '.join(Binds.values)}")

    def handle(self, *args: Any, **options: Any) -> None:
        user = people.user_with(options["email"])
        slug = options["provider"]
        row = limits.set_allocation(
            actor=None,
            user=user,
            provider=ALL_PROVIDERS if slug == "all" else slug,
            type=options["type"],
            requests=_whole("--requests", options["requests"]),
            tokens=_whole("--tokens", options["tokens"]),
            cost=_dollars(options["cost"]),
            binds=options["binds"],
            now=timezone.now(),
        )
        until = f" This period ends at {row.period_end:%Y-%m-%d %H:%M} UTC." if row else ""
        self.stdout.write(f"Set the {options['type']} limit of {user.email}.{until}")


def _whole(name: str, text: Any) -> int | None:
    """Return a whole number; call_command may hand over what is one already."""
    if text is None:
        return None
    try:
        return int(str(text))
    except ValueError:
        raise CommandError(f"{name} must be a whole number.") from None


def _dollars(text: Any) -> Decimal | None:
    if text is None:
        return None
    try:
        return Decimal(str(text))
    except InvalidOperation:
        raise CommandError("--cost must be an amount in US dollars, such as 2.50.") from None
