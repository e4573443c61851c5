"""Back the database up into one file."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from apikeys import keyring
from digitalme.commands import ProductCommand
from digitalme.transfer import backups


class Command(ProductCommand):
    """May run while everything else does. Overwrites nothing."""

    help = (
        "Back the whole database up into one new file that only its owner may read. The master keys are not in it: "
        "keep them elsewhere, as without them no stored key can be read again."
    )
    requires_system_checks = ()  # unusable keys get one clear line below

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file")
        parser.add_argument("--passphrase-file", metavar="PATH", help="encrypt with the passphrase in this file")

    def handle(self, *args: Any, **options: Any) -> None:
        passphrase = backups.read_passphrase(options["passphrase_file"])
        try:
            made = backups.make(Path(options["file"]), passphrase=passphrase, now=timezone.now())
        except keyring.UnusableKey as problem:
            raise CommandError(str(problem)) from None
        manifest = made.manifest
        self.stdout.write(
            f"{options['file']}: {made.bytes:,} bytes, {sum(manifest.counts.values()):,} rows of "
            f"{len(manifest.counts)} tables, {'encrypted' if passphrase else 'not encrypted'}."
        )
        needed = [key_id for key_id, master in manifest.masters.items() if master.rows]
        if needed:
            self.stdout.write(
                f"To be restored it needs the master keys {', '.join(needed)}, which are not in it: "
                f"{manifest.sealed_rows:,} stored keys are sealed by them."
            )
        if made.unreadable_by:
            self.stderr.write(
                f"These are not here, so what they sealed cannot be read even now: {', '.join(made.unreadable_by)}."
            )
