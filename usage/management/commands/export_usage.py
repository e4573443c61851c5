"""Write the records of calls to a file or to standard output."""

import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser

from digitalme.accounts.models import Team, User
from digitalme.commands import ProductCommand
from usage import exports, rollups
from usage.exports import Format, Selection
from usage.models import UsageRecord


class Command(ProductCommand):
    help = "Write one row a call, the earliest first: of one person, or of everybody if no address is given."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", metavar="EMAIL", nargs="?", help="whose calls")
        parser.add_argument("--team", metavar="SLUG", help="only calls on this team's keys")
        parser.add_argument("--from", dest="start", metavar="DAY", help="the first day, such as 2026-11-24")
        parser.add_argument("--to", dest="end", metavar="DAY", help="the last day")
        parser.add_argument("--provider", default="", help="such as openai")
        parser.add_argument("--model", default="")
        parser.add_argument("--key-source", default="", choices=["", "user", "team", "system", "fallback"])
        parser.add_argument("--status", default="", choices=["", *UsageRecord.Status.values])
        parser.add_argument("--token", type=UUID, metavar="ID", help="only calls with this access token")
        parser.add_argument("--tag", default="")
        parser.add_argument("--format", default=Format.CSV.value, choices=[form.value for form in Format])
        parser.add_argument("--output", type=Path, metavar="FILE", help="instead of standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        pieces = exports.stream(_selection(options), Format(options["format"]))
        if options["output"] is None:
            for piece in pieces:
                self.stdout.write(piece, ending="")
            return
        try:
            _write(options["output"], pieces)
        except OSError as problem:
            raise CommandError(f"{options['output']} cannot be written: {problem.strerror}.") from None


def _selection(options: dict[str, Any]) -> Selection:
    user, zone = None, UTC.tzname(None)
    if options["email"]:
        user = User.objects.filter(email__iexact=options["email"]).first()
        if user is None:
            raise CommandError(f"There is nobody with the address {options['email']}.")
        zone = user.time_zone
    team = None
    if options["team"]:
        team = Team.objects.filter(slug=options["team"]).first()
        if team is None:
            raise CommandError(f"There is no team {options['team']}.")
    start, end = (_bound(options[name], zone, last=name == "end") for name in ("start", "end"))
    if start and end and end <= start:
        raise CommandError("--to is before --from.")
    return Selection(
        user_id=user.pk if user else None,
        team_id=team.pk if team else None,
        token_id=options["token"],
        start=start,
        end=end,
        **{name: options[name] for name in ("provider", "model", "key_source", "status", "tag")},
    )


def _bound(day: str | None, zone: str, *, last: bool) -> datetime | None:
    """Return where a day begins, or with `last` where it ends."""
    if not day:
        return None
    try:
        return rollups.day_bounds(date.fromisoformat(day), zone)[last]
    except (ValueError, OverflowError):
        raise CommandError(f"{day} is not a day such as 2026-11-24.") from None


def _write(path: Path, pieces: Iterator[str]) -> None:
    """Write the file whole or not at all; only its owner may read it."""
    part = path.with_name(f"{path.name}.part")
    opened = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with open(opened, "w", encoding="utf-8", newline="") as file:
            file.writelines(pieces)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
