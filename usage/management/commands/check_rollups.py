"""Hold the rollups against the records."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from usage import comparison


class Command(BaseCommand):
    """Silent when every sum is exact; otherwise one line for each that is not."""

    help = "Check that the sums by hour and day equal the records that they were made from."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--repair", action="store_true", help="Make those hours and days anew.")

    def handle(self, *args: Any, repair: bool, **options: Any) -> None:
        found = list(comparison.differences())
        for one in found:
            self.stderr.write(str(one))
        if found and repair:
            comparison.repair(found)
            found = list(comparison.differences())
            if not found:
                self.stdout.write("Repaired.")
        if found:
            raise CommandError(f"{len(found)} sums differ from what they are made of. Use --repair to make them anew.")
