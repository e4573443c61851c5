"""Read the trail, and show each person what concerns them."""

from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q, QuerySet

from digitalme.audit.actions import ActorKind
from digitalme.audit.models import AuditEvent


@dataclass(frozen=True, slots=True)
class Seen:
    """Who did it and from where, as far as the reader may know: "you", "staff", "team" for
    somebody who looks after a team, or the kind of actor."""

    by: str
    actor: str
    address: str
    request_id: str


def all_events() -> QuerySet[AuditEvent]:
    """Return every event, newest first."""
    return AuditEvent.objects.order_by("-sequence")


def concerning(user_id: UUID) -> QuerySet[AuditEvent]:
    """Return what a person did and what was done to what is theirs, newest first."""
    place = f"user:{user_id}"
    return all_events().filter(Q(actor=place) | Q(subject=place))


def seen_by(event: AuditEvent, user_id: UUID) -> Seen:
    """Return who did it as this person may know it: of somebody else, neither who nor from where."""
    if event.actor == f"user:{user_id}":
        return Seen("you", event.actor, event.address, event.request_id)
    if event.actor_kind == ActorKind.USER:
        return Seen("team" if event.action.startswith("team.") else "staff", "", "", "")
    return Seen(event.actor_kind, "", event.address, event.request_id)
