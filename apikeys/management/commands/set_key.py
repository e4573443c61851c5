"""Add or replace a key from the command line."""

import getpass
import json
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.views.decorators.debug import sensitive_variables

from apikeys import keyring, keys, masters
from apikeys.keys import Owner
from digitalme.accounts.models import Team, User
from digitalme.errors import DigitalMeError
from providers import registry
from providers.registry import Provider

MAX_CHARACTERS = 256 * 1024


class Command(BaseCommand):
    help = (
        "Add or replace the key of a user, a team or the house. Secrets are read from standard input: with one "
        "--field all of it, with several one line for each in their order, with --json an object of all fields."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("provider", metavar="PROVIDER", help="such as openai or anthropic")
        owner = parser.add_mutually_exclusive_group(required=True)
        owner.add_argument("--system", action="store_true", help="the house's own key, for everybody's demo")
        owner.add_argument("--user", metavar="EMAIL", help="a person's own key")
        owner.add_argument("--team", metavar="SLUG", help="a key that a team shares")
        how = parser.add_mutually_exclusive_group()
        how.add_argument(
            "--field", metavar="NAME", action="append", help="which field is read; by default the first; repeatable"
        )
        how.add_argument("--json", action="store_true", help="read a JSON object that has every field by its name")
        parser.add_argument("--label", metavar="WORD", default="", help="which one, where an owner may keep several")
        parser.add_argument("--expires", metavar="DAY", type=_day, help="the last day of its life, as 2027-01-31")
        parser.add_argument("--rotate-by", metavar="DAY", type=_day, help="the day to replace it by")

    @sensitive_variables("fields")
    def handle(self, *args: Any, **options: Any) -> None:
        owner = owner_of(options["user"], options["team"])
        try:
            masters.verify()
            provider = registry.get(options["provider"])
            fields = _whole_object() if options["json"] else _fields(provider, options["field"] or [])
            credential = keys.set_key(
                actor=None,
                owner=owner,
                provider=provider,
                fields=fields,
                label=options["label"],
                expires_at=end_of(options["expires"]) if options["expires"] else None,
                rotate_by=options["rotate_by"],
            )
        except (DigitalMeError, keyring.UnusableKey) as problem:
            raise CommandError(str(problem)) from None
        named = f" '{credential.label}'" if credential.label else ""
        known = " It is the same one as before." if credential.same_as else ""
        self.stdout.write(
            f"{provider.name}: key{named} set for {name_of(options)} (version {credential.version}).{known}"
        )


def end_of(day: date) -> datetime:
    """Return the moment at which a day is over, in UTC."""
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def _day(text: str) -> date:
    return date.fromisoformat(text)


def owner_of(email: str | None, slug: str | None) -> Owner:
    """Return whom a key belongs to: a person, a team, or else the house. Raises CommandError."""
    if email is not None:
        user = User.objects.filter(email__iexact=email).first()
        if user is None:
            raise CommandError(f"There is no user {email}.")
        return Owner("user", user.pk)
    if slug is not None:
        team = Team.objects.filter(slug=slug).first()
        if team is None:
            raise CommandError(f"There is no team {slug}.")
        return Owner("team", team.pk)
    return keys.SYSTEM


def name_of(options: dict[str, Any]) -> str:
    """Return the owner as it is told."""
    return options["user"] or (f"the team {options['team']}" if options["team"] else "the house")


@sensitive_variables("lines")
def _fields(provider: Provider, names: Sequence[str]) -> dict[str, str]:
    """Read the fields named; without a name it is the first one. Of one field the whole input is the value:
    some have several lines."""
    names = list(dict.fromkeys(names)) or [field.name for field in provider.manifest.fields[:1]]
    if sys.stdin.isatty():
        return {name: getpass.getpass(f"{provider.name}, {name}: ") for name in names}
    if len(names) <= 1:
        return dict.fromkeys(names, sys.stdin.read(MAX_CHARACTERS)) or {"": ""}
    lines = sys.stdin.read(MAX_CHARACTERS).splitlines()
    if len(lines) != len(names):
        raise CommandError(f"Standard input has {len(lines)} lines, but there are {len(names)} fields: give one each.")
    return dict(zip(names, lines, strict=True))


@sensitive_variables("given")
def _whole_object() -> dict[str, str]:
    """Read all fields as one JSON object of texts."""
    try:
        given = json.loads(sys.stdin.read(MAX_CHARACTERS))
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise CommandError("Standard input must be a JSON object that holds a text for each field.")
    return given
