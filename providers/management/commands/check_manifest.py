"""Check provider definitions before they are installed."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from providers import manifest
from providers.builtin import BUILT_IN, CATALOG
from providers.definitions import check_origins
from providers.manifest import ManifestProblem


class Command(BaseCommand):
    help = "Check a provider definition: what it gets wrong is named by file, line and key, with what to do."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("files", metavar="FILE", nargs="+", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        problems = []
        for file in options["files"]:
            try:
                self.stdout.write(_checked(file))
            except ManifestProblem as problem:
                problems.append(str(problem))
        if problems:
            raise CommandError("\n".join(problems))


def _checked(file: Path) -> str:
    found = manifest.load(file)
    if found.slug in BUILT_IN and file.resolve().parent != CATALOG.resolve():
        raise ManifestProblem(f"{file.name}: '{found.slug}' is built in and cannot be replaced; choose another slug.")
    check_origins(found, file.name)
    count = len(found.operations)
    return f"{file.name}: {found.name} ({found.slug}) is in order, with {count} operation{'s' if count != 1 else ''}."
