"""What comes before serving: usable keys of the house, tables up to date, demo people if asked."""

import json
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from apikeys import keyring
from digitalme.accounts import demo


class Command(BaseCommand):
    help = "Migrate if there is anything to migrate; with --demo, print the demo people as JSON."
    requires_system_checks = ()  # a second start should be quick; the server checks what it needs

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--demo", action="store_true", help="make sure that the demo people exist")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            keyring.ring()
        except keyring.UnusableKey as problem:
            raise CommandError(str(problem)) from None
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            self.stderr.write("Preparing the database ...")
            call_command("migrate", verbosity=0, interactive=False)
        if options["demo"]:
            self.stdout.write(json.dumps(demo.people(settings.VAR_DIR / "demo-people.json")))
