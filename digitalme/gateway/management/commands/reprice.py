"""Price calls again, from the command line."""

from datetime import date, datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from digitalme.commands import ProductCommand
from digitalme.gateway import repricing
from usage import rollups
from usage.exports import Selection


class Command(ProductCommand):
    help = "Price calls again whose price was not known when they were made. Safe to repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--from", dest="start", metavar="DAY", required=True, help="the first day, in UTC")
        parser.add_argument("--to", dest="end", metavar="DAY", required=True, help="the last day")
        parser.add_argument("--provider", default="", help="such as openai")
        parser.add_argument("--model", default="")
        parser.add_argument("--all", action="store_true", help="also calls that have a price")
        parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        wanted = Selection(
            start=_bound(options["start"]),
            end=_bound(options["end"], last=True),
            provider=options["provider"],
            model=options["model"],
        )
        dry_run = options["dry_run"]
        report = repricing.reprice(wanted, everything=options["all"], dry_run=dry_run, now=timezone.now())
        would = "would change" if dry_run else "changed"
        self.stdout.write(
            f"{report.seen} calls looked at; the cost of {report.changed} {would}, by {report.difference:+.9f} "
            f"US dollars in all; what limits were charged {would} for {report.charged}."
        )
        for provider, model in sorted(report.unpriced):
            self.stdout.write(f"No price is known of {provider} {model!r}.")


def _bound(day: str, *, last: bool = False) -> datetime:
    try:
        return rollups.day_bounds(date.fromisoformat(day), "UTC")[last]
    except (ValueError, OverflowError):
        raise CommandError(f"{day} is not a day such as 2026-11-24.") from None
