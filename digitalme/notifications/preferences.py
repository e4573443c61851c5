"""By which ways somebody wants to be told of what."""

from collections.abc import Iterable
from uuid import UUID

from django.db import transaction

from digitalme.notifications.kinds import ABOUT, Channel, Kind
from digitalme.notifications.models import Preference

Choice = tuple[Kind, Channel]


def wanted_by(user_id: UUID) -> set[Choice]:
    """Return everything that somebody wants."""
    found = {(kind, channel) for kind in Kind for channel in Channel if channel not in ABOUT[kind].off}
    for row in Preference.objects.filter(user_id=user_id):
        _apply(row, found)
    return found


def channels_for(people: Iterable[UUID], kind: Kind) -> dict[UUID, set[Channel]]:
    """Return by which ways each of these people wants to be told of a kind; one query."""
    people = list(people)
    found = {one: set(Channel) - ABOUT[kind].off for one in people}
    for row in Preference.objects.filter(user_id__in=people, kind=kind):
        change = found[row.user_id].add if row.wanted else found[row.user_id].discard
        change(Channel(row.channel))
    return found


@transaction.atomic
def choose(user_id: UUID, wanted: Iterable[Choice], *, among: Iterable[Kind]) -> None:
    """Remember that somebody wants just these of the kinds in `among`; the others stay as they are."""
    wanted = set(wanted)
    rows = [
        Preference(user_id=user_id, kind=kind, channel=channel, wanted=(kind, channel) in wanted)
        for kind in among
        for channel in Channel
        if channel not in ABOUT[kind].never
    ]
    Preference.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["user", "kind", "channel"], update_fields=["wanted"]
    )


def _apply(row: Preference, found: set[Choice]) -> None:
    if row.kind in list(Kind) and row.channel in list(Channel):
        choice = Kind(row.kind), Channel(row.channel)
        (found.add if row.wanted else found.discard)(choice)
