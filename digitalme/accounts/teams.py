"""Teams: who belongs to one, and who may change what about it.

The owner may do everything. Admins look after name, keys, invitations and plain members. Members use what is shared,
and may leave. A team has an owner at all times: the owner hands it over before leaving, or dissolves it.
"""

import re
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Count, QuerySet
from django.utils import timezone
from django.utils.crypto import get_random_string
from django.utils.text import slugify

from digitalme.accounts import team_news
from digitalme.accounts.models import Membership, Team, User
from digitalme.audit import log as trail
from digitalme.audit.actions import Action
from digitalme.errors import InvalidRequest, NotFound, SecurityViolation

Role = Membership.Role
MANAGERS = (Role.OWNER, Role.ADMIN)
MOST_OWNED = 20
MOST_MEMBERS = 200
MAX_NAME = 100
# What letters and pages repeat must not pass for a link or break a line.
_ODD = re.compile(r"[\x00-\x1f\x7f\u2028\u2029<>]|://|\bwww\.", re.IGNORECASE)
_SLUG_WORDS = 40
_SLUG_ENDING = "abcdefghjkmnpqrstuvwxyz23456789"


def memberships_of(user: User) -> QuerySet[Membership]:
    """Return a person's places, by the names of the teams."""
    return Membership.objects.filter(user=user).select_related("team").order_by("team__name", "team_id")


def place_of(user: User, slug: str) -> Membership:
    """Return a person's place in a team. Raises NotFound for a team that is none of theirs."""
    place = memberships_of(user).filter(team__slug=slug).first()
    if place is None:
        raise NotFound("There is no such team, or you do not belong to it.")
    return place


def managed_place_of(user: User, slug: str) -> Membership:
    """Return the place of somebody who looks after the team. Raises NotFound, and SecurityViolation for a
    plain member."""
    place = place_of(user, slug)
    if place.role not in MANAGERS:
        raise SecurityViolation("Only the owner and the admins of the team may do this. Ask one of them.")
    return place


def members_of(team: Team) -> list[Membership]:
    """Return who belongs to a team, from the most to the least powerful, then by the time they joined."""
    members = Membership.objects.filter(team=team).select_related("user")
    return sorted(members, key=lambda one: (Role.values.index(one.role), one.joined_at))


def sizes(teams: list[Team]) -> dict[UUID, int]:
    """Return how many people belong to each of these teams."""
    counted = Membership.objects.filter(team__in=teams).order_by().values_list("team").annotate(number=Count("id"))
    return dict(counted)


@transaction.atomic
def create(*, actor: User, name: str) -> Team:
    """Make a team that the actor owns. Raises InvalidRequest for a name that cannot be, or one team too many."""
    name = _clean(name)
    User.objects.select_for_update().get(pk=actor.pk)
    if Membership.objects.filter(user=actor, role=Role.OWNER).count() >= MOST_OWNED:
        raise InvalidRequest(f"One person may own up to {MOST_OWNED} teams. Dissolve or hand over one of yours.")
    team = Team.objects.create(name=name, slug=_new_slug(name))
    Membership.objects.create(team=team, user=actor, role=Role.OWNER)
    record(Action.TEAM_CREATED, team, actor, members=1)
    return team


@transaction.atomic
def rename(*, actor: User, team: Team, name: str) -> None:
    """Give a team another name; its slug stays. Raises as `create`, and SecurityViolation for a plain member."""
    locked(actor, team, *MANAGERS)
    team.name = _clean(name)
    team.save(update_fields=["name"])
    record(Action.TEAM_CHANGED, team, actor, fields=["name"])


@transaction.atomic
def change_role(*, actor: User, team: Team, user_id: UUID, role: str) -> None:
    """Make a member an admin, or an admin a member. Only the owner may; the owner's own role goes by `hand_over`.

    Raises SecurityViolation, NotFound for somebody who does not belong there, InvalidRequest for any other role.
    """
    locked(actor, team, Role.OWNER)
    member = _member(team, user_id)
    if role not in (Role.ADMIN, Role.MEMBER) or member.role == Role.OWNER:
        raise InvalidRequest("A member can be made an admin, or an admin a member. Ownership is handed over.")
    was, member.role = Role(member.role), Role(role)
    if was is not member.role:
        member.save(update_fields=["role"])
        team_news.role_changed(team, member.user, role)
        record(Action.TEAM_ROLE_CHANGED, team, actor, of=user_id, role=member.role, was=was)


@transaction.atomic
def remove_member(*, actor: User, team: Team, user_id: UUID) -> None:
    """Take somebody out of a team: their calls on its keys end within seconds. Admins remove plain members, the
    owner everybody else. Raises SecurityViolation, NotFound, and InvalidRequest for oneself."""
    mine = locked(actor, team, *MANAGERS)
    member = _member(team, user_id)
    if user_id == actor.pk:
        raise InvalidRequest("Leave the team instead.")
    if member.role == Role.OWNER or (member.role == Role.ADMIN and mine.role != Role.OWNER):
        raise SecurityViolation("Only the owner may remove an admin, and nobody the owner.")
    member.delete()
    team_news.removed(team, member.user, actor)
    record(Action.TEAM_MEMBER_REMOVED, team, actor, of=user_id)


@transaction.atomic
def leave(*, actor: User, team: Team) -> None:
    """Leave a team. Raises InvalidRequest for its owner, who hands it over or dissolves it."""
    mine = locked(actor, team)
    if mine.role == Role.OWNER:
        raise InvalidRequest("You own this team. Hand it over to somebody first, or dissolve it.")
    mine.delete()
    team_news.left(team, actor)
    record(Action.TEAM_LEFT, team, actor, of=actor.pk)


@transaction.atomic
def hand_over(*, actor: User, team: Team, user_id: UUID) -> None:
    """Make another member the owner; the one before stays as an admin. Raises SecurityViolation for anybody but the
    owner, NotFound, and InvalidRequest for oneself or a disabled account."""
    mine = locked(actor, team, Role.OWNER)
    member = _member(team, user_id)
    if member.pk == mine.pk or not member.user.is_active:
        raise InvalidRequest("A team is handed over to another member whose account is active.")
    mine.role, member.role = Role.ADMIN, Role.OWNER
    Membership.objects.bulk_update([mine, member], ["role"])
    team_news.role_changed(team, member.user, Role.OWNER)
    record(Action.TEAM_HANDED_OVER, team, actor, of=user_id)


@transaction.atomic
def dissolve(*, actor: User, team: Team, confirmed: str) -> None:
    """End a team for good, with its keys, its invitations and what was shared in it. Only the owner may.

    Raises SecurityViolation, and InvalidRequest unless `confirmed` is the team's name.
    """
    locked(actor, team, Role.OWNER)
    if confirmed.strip() != team.name:
        raise InvalidRequest("Type the name of the team as it stands here to confirm that it is to be dissolved.")
    people = list(Membership.objects.filter(team=team).values_list("user_id", flat=True))
    gone = Team(id=team.id, slug=team.slug, name=team.name)
    team.delete()
    team_news.dissolved(gone, people, actor)
    record(Action.TEAM_DELETED, gone, actor, members=len(people))


def locked(actor: User, team: Team, *allowed: str) -> Membership:
    """Lock a team for the rest of the transaction and return the actor's place in it as it is now.

    Raises NotFound if there is none, SecurityViolation if roles are given and the actor's is none of them.
    """
    fresh = Team.objects.select_for_update().filter(pk=team.pk).first()
    mine = Membership.objects.filter(team=team, user=actor).first()
    if fresh is None or mine is None:
        raise NotFound("There is no such team, or you do not belong to it.")
    if allowed and mine.role not in allowed:
        who = "the owner" if allowed == (Role.OWNER,) else "the owner and the admins"
        raise SecurityViolation(f"Only {who} of the team may do this. Ask one of them.")
    team.name = fresh.name
    return mine


def record(action: Action, team: Team, actor: User, *, of: UUID | None = None, **facts: Any) -> None:
    """Write into the audit trail what happened to a team, or in it to the person `of`."""
    target = f"team:{team.pk}"
    trail.record(action, target=target, subject=f"user:{of}" if of else target, actor=actor.pk, **facts)


def join(*, team: Team, user: User, role: str, now: datetime | None = None) -> None:
    """Put somebody into a locked team, unless they belong to it. Raises InvalidRequest if it is full."""
    if Membership.objects.filter(team=team, user=user).exists():
        return
    if team.members.count() >= MOST_MEMBERS:
        raise InvalidRequest(f"A team has up to {MOST_MEMBERS} members, and this one is full.")
    Membership.objects.create(team=team, user=user, role=role, joined_at=now or timezone.now())
    team_news.joined(team, user)
    record(Action.TEAM_JOINED, team, user, of=user.pk, role=Role(role))


def _member(team: Team, user_id: UUID) -> Membership:
    member = Membership.objects.select_related("user").filter(team=team, user_id=user_id).first()
    if member is None:
        raise NotFound("This person does not belong to the team.")
    return member


def _clean(name: str) -> str:
    name = " ".join(name.split())
    if not name or len(name) > MAX_NAME or _ODD.search(name):
        raise InvalidRequest(f"Give the team a name of up to {MAX_NAME} characters, without addresses of pages.")
    return name


def _new_slug(name: str) -> str:
    """Return a slug with a random ending, so that making a team tells nothing about the names of others."""
    words = slugify(name)[:_SLUG_WORDS].strip("-_") or "team"
    return f"{words}-{get_random_string(6, _SLUG_ENDING)}"
