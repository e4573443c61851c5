"""Hold the ledger against the records."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from digitalme.gateway import invariant


class Command(BaseCommand):
    """Silent when the ledger is exact; otherwise one line for each allocation that is off."""

    help = "Check that every allocation's used amounts equal its settled records plus its live leases."

    def handle(self, *args: Any, **options: Any) -> None:
        off = invariant.differences()
        for difference in off:
            self.stderr.write(str(difference))
        if off:
            raise CommandError(f"{len(off)} allocations differ from their records and leases.")
