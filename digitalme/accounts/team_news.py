"""What the members of a team are told: who comes and goes, whose role changes, which shared key changes."""

from collections.abc import Iterable
from uuid import UUID

from django.utils import timezone

from digitalme.accounts.models import Membership, Team, User
from digitalme.notifications import notices
from digitalme.notifications.kinds import Kind
from digitalme.notifications.models import Level
from digitalme.notifications.notices import Message

_MANAGERS = (Membership.Role.OWNER, Membership.Role.ADMIN)
_ROLES = {"owner": "its owner", "admin": "one of its admins", "member": "a member"}


def joined(team: Team, user: User) -> None:
    """Tell those who look after a team that somebody joined it."""
    _tell(_managers(team, user.pk), team, "joined", f"{user.email} joined {team.name}", "Invited by one of you.")


def left(team: Team, user: User) -> None:
    """Tell those who look after a team that somebody left it."""
    _tell(_managers(team, user.pk), team, "left", f"{user.email} left {team.name}", "Their calls on its keys end.")


def removed(team: Team, user: User, actor: User) -> None:
    """Tell somebody that they were taken out of a team, and those who look after it too."""
    text = "Your calls on its keys end. Your own keys and records stay."
    _tell([user.pk], team, "removed", f"You were taken out of {team.name}", text, level=Level.WARN, link="")
    title = f"{user.email} was taken out of {team.name}"
    _tell(_managers(team, user.pk, actor.pk), team, "removed", title, f"By {actor.email}.")


def role_changed(team: Team, user: User, role: str) -> None:
    """Tell somebody what they are in a team now."""
    _tell([user.pk], team, "role_changed", f"You are now {_ROLES[role]}: {team.name}", "Your rights changed with it.")


def dissolved(team: Team, people: Iterable[UUID], actor: User) -> None:
    """Tell those who belonged to a team that there is none any more."""
    text = "Its shared keys are gone. Your own keys and records stay."
    those = [one for one in people if one != actor.pk]
    _tell(those, team, "dissolved", f"The team {team.name} was dissolved", text, level=Level.WARN, link="")


def key_changed(team_id: UUID, provider: str, deed: str, actor: User | None) -> None:
    """Tell the members of a team that a shared key was set, removed or switched."""
    team = Team.objects.filter(pk=team_id).first()
    if team is None:
        return
    others = Membership.objects.filter(team=team).exclude(user=actor.pk if actor else None)
    by = f"By {actor.email}. " if actor else ""
    title = f"{team.name}: the shared {provider} key was {deed}"
    text = f"{by}Members without a {provider} key of their own call with the team's."
    _tell(others.values_list("user_id", flat=True), team, "key_changed", title, text)


def _managers(team: Team, *but: UUID) -> list[UUID]:
    those = Membership.objects.filter(team=team, role__in=_MANAGERS).exclude(user__in=but)
    return list(those.values_list("user_id", flat=True))


def _tell(
    people: Iterable[UUID],
    team: Team,
    event: str,
    title: str,
    text: str,
    *,
    level: Level = Level.INFO,
    link: str | None = None,
) -> None:
    message = Message(
        kind=Kind.TEAM,
        level=level,
        title=title,
        text=text,
        link=f"/settings/team/{team.slug}/" if link is None else link,
        facts={"team": team.slug, "event": event},
    )
    notices.tell(people, message, now=timezone.now())
