"""Make a random key for the house."""

import base64
import re
import secrets
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apikeys import kms
from apikeys.keyring import is_key_id
from digitalme.material import KEY_BYTES


class Command(BaseCommand):
    help = (
        "Print a new master key as id:base64 for DIGITALME_MASTER_KEYS, or with --bare the base64 alone, for"
        " DIGITALME_FINGERPRINT_KEY and DIGITALME_AUDIT_KEY. Nothing is stored or changed."
    )
    requires_system_checks = ()  # it is what one runs while there are no keys yet

    def add_arguments(self, parser: CommandParser) -> None:
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--id", help="the key's id; by default the first of k1, k2, ... that is free")
        form.add_argument("--bare", action="store_true", help="print no id")
        parser.add_argument(
            "--vault", action="store_true", help="let the Vault make it, so that nobody sees it in the clear"
        )
        parser.add_argument("--taken", nargs="*", default=[], metavar="ID", help="further ids that are not free")

    def handle(self, *args: Any, **options: Any) -> None:
        key = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
        if options["bare"]:
            self.stdout.write(key)
            return
        key_id = options["id"] or _free_id(settings.DIGITALME_MASTER_KEYS, options["taken"])
        if not is_key_id(key_id):
            raise CommandError("A key's id has 1 to 32 letters, digits, dots, dashes or underscores.")
        try:
            key = kms.vault_of(settings).new_wrapped() if options["vault"] else key
        except kms.CannotUnwrap as problem:
            raise CommandError(str(problem)) from None
        self.stdout.write(f"{key_id}:{key}")


def _free_id(present: str, further: list[str]) -> str:
    taken = {entry.strip().partition(":")[0] for entry in re.split(r"[,\n]", present)} | set(further)
    return next(f"k{number}" for number in range(1, len(taken) + 2) if f"k{number}" not in taken)
