"""Make a key for DIGITALME_MASTER_KEYS."""

import base64
import os
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from apikeys.keyring import KEY_BYTES


class Command(BaseCommand):
    help = "Print a new random master key as id:base64. Keep it outside of the database and its backups."
    requires_system_checks: list[str] = []  # it must run before there is any key

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--id", default=f"{datetime.now(UTC):%Y%m%d}", help="default: today's date")

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{options['id']}:{base64.b64encode(os.urandom(KEY_BYTES)).decode()}")
