"""Give back the holds of processes that died."""

from typing import Any

from django.core.management.base import BaseCommand

from digitalme.gateway import tasks


class Command(BaseCommand):
    """Settles the calls whose leases ran out; the beat schedule does the same every 20 seconds."""

    help = "Settle, at their estimates, the calls whose leases ran out."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{tasks.sweep_leases()} expired leases settled.")
