"""Make the tables of the coming months and delete calls that are too old."""

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand

from usage import partitions, retention


class Command(BaseCommand):
    """Does what the beat schedule does every hour, and says what is kept."""

    help = (
        "Make the tables of the coming months (PostgreSQL) and delete calls older than DIGITALME_USAGE_RETENTION_DAYS."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        now = datetime.now(UTC)
        partitions.make_ahead(now=now)
        gone, months, begin = retention.purge(now=now), partitions.there(), retention.kept_from()
        self.stdout.write(f"{gone} calls deleted. {retention.sentence()}")
        if begin:
            self.stdout.write(f"Every call since {begin:%Y-%m-%d %H:%M} UTC is there.")
        if months:
            self.stdout.write(f"There are tables for {months[0]} to {months[-1]}.")
