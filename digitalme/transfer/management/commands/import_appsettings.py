"""Take over an appsettings.json."""

import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from apikeys import keyring, masters
from digitalme.commands import ProductCommand
from digitalme.transfer import importing, table


class Command(ProductCommand):
    """Safe to repeat: a second run says that nothing changed."""

    help = (
        "Take over the keys and quotas of an old appsettings.json (ApiKeys) or of the newer shape (ApiConfiguration), "
        "and say of each setting what it became. With --undo, bring back what was before an import."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", nargs="?", help="the file; - for standard input")
        parser.add_argument("--dry-run", action="store_true", help="only say what would change")
        parser.add_argument("--undo", metavar="TRACE", help="the id that an import printed")
        parser.add_argument("--force", action="store_true", help="undo also what was changed since the import")

    def handle(self, *args: Any, **options: Any) -> None:
        file, trace = options["file"], options["undo"]
        if (file is None) == (trace is None):
            raise CommandError("Give either a file or --undo TRACE.")
        if trace is None and options["force"]:
            raise CommandError("--force goes with --undo.")
        if trace is not None and options["dry_run"]:
            raise CommandError("--dry-run goes with a file.")
        try:
            masters.verify()
            if trace is None:
                self._import(file, options["dry_run"])
            else:
                self._undo(trace, options["force"])
        except keyring.UnusableKey as problem:
            raise CommandError(str(problem)) from None

    @sensitive_variables("data")
    def _import(self, file: str, dry_run: bool) -> None:
        data, name = _content(file)
        done = importing.import_settings(data, name, actor=None, dry_run=dry_run, now=timezone.now())
        self.stdout.write(table.rendered(done.notes))
        if dry_run:
            self.stdout.write("\nNothing was changed: this was a dry run.")
        elif done.trace_id is None:
            self.stdout.write("\nNothing was changed: all of it holds already.")
        else:
            self.stdout.write(f"\nTo bring back what was before: import_appsettings --undo {done.trace_id}")

    def _undo(self, trace: str, force: bool) -> None:
        try:
            trace_id = UUID(trace)
        except ValueError:
            raise CommandError(f"{trace!r} is not the id of an import.") from None
        notes = importing.undo(trace_id, actor=None, force=force, now=timezone.now())
        self.stdout.write(table.rendered(notes))


def _content(file: str) -> tuple[bytes, str]:
    if file == "-":
        return sys.stdin.buffer.read(), "standard input"
    try:
        return Path(file).read_bytes(), file
    except OSError as problem:
        raise CommandError(f"{file} cannot be read: {problem.strerror}.") from None
