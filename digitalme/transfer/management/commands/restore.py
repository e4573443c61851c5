"""Restore a backup."""

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from apikeys import keyring
from digitalme.commands import ProductCommand
from digitalme.transfer import backups, container, restores
from digitalme.transfer.backup_manifest import Manifest


class Command(ProductCommand):
    """Refuses at once what cannot be restored; changes nothing until everything is checked."""

    help = "Restore a backup into an empty database, or with --replace in the place of all that is in it."
    requires_system_checks = ()  # unusable keys get one clear line below

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file")
        parser.add_argument("--passphrase-file", metavar="PATH", help="the passphrase of an encrypted backup")
        parser.add_argument("--replace", action="store_true", help="replace all that is in the database")
        parser.add_argument("--yes", action="store_true", help="do not ask before replacing")

    def handle(self, *args: Any, **options: Any) -> None:
        passphrase = backups.read_passphrase(options["passphrase_file"])
        try:
            with container.reading(Path(options["file"]), passphrase) as backup:
                restores.check(backup.manifest, replace=options["replace"])
                if options["replace"] and not options["yes"]:
                    _confirm(backup.manifest)
                done = restores.restore(backup, now=timezone.now())
                made_at = backup.manifest.made_at
        except keyring.UnusableKey as problem:
            raise CommandError(str(problem)) from None
        brought = " Its tables were brought up to date." if done.migrated else ""
        self.stdout.write(
            f"Restored the state of {made_at}: {done.rows:,} rows.{brought} {done.opened} stored keys were opened to "
            "see that they open, the ledger agrees with its records, and everybody is signed out."
        )
        self.stdout.write(
            "What was revoked, removed or changed after that moment stands again as it was: look through access "
            "tokens, keys and people before you start web, worker and beat. With Redis, empty it first."
        )


def _confirm(manifest: Manifest) -> None:
    """Ask on a terminal; elsewhere --yes must have been given."""
    if not sys.stdin.isatty():
        raise CommandError("To replace all that is in the database, add --yes.")
    people = manifest.counts.get("accounts_user", 0)
    answer = input(
        f"All that is in the database is lost, and replaced by the state of {manifest.made_at} ({people} people). "
        "Type 'replace' to go on: "
    )
    if answer.strip() != "replace":
        raise CommandError("Nothing was changed.")
