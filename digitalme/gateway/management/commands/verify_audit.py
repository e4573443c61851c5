"""Hold the audit trail against itself, and the stored keys against the trail."""

import re
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from digitalme.audit import verification
from digitalme.gateway import trail

_WITNESS = re.compile(r"[0-9]{1,18}:[0-9a-f]{64}")


class Command(BaseCommand):
    """One line either way."""

    help = "Check that no event of the audit trail was changed, moved, added or taken away, and no old key put back."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--witness",
            default="",
            metavar="NUMBER:HASH",
            help="what this command printed earlier and you kept elsewhere: shows that no older state was put back",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        witness = options["witness"]
        if witness and not _WITNESS.fullmatch(witness):
            raise CommandError("--witness reads NUMBER:HASH, as this command prints it.")
        verdict = verification.verify(witness=witness)
        if found := trail.problems(verdict):
            more = f" And {len(found) - 1} more." if len(found) > 1 else ""
            what = "" if verdict.intact else "The audit trail is broken. "
            raise CommandError(f"{what}{found[0]}{more}")
        self.stdout.write(
            f"The audit trail is whole: events {verdict.first} to {verdict.last}. Witness: {verdict.witness}"
            if verdict.last >= verdict.first
            else "The audit trail is whole, and empty."
        )
