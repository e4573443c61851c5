"""A team's limits, for those who belong to it: the pool that the house grants, and what its owner and admins bound
themselves: what each member draws from the pool, what calls on the team's own keys may spend."""

from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet

from digitalme.accounts import teams
from digitalme.accounts.models import Membership, Team, User
from digitalme.errors import InvalidRequest, NotFound
from quotas import caps, owners, policy, standing
from quotas.caps import BUDGETS, Cap
from quotas.models import Limit
from quotas.standing import QuotaStanding


@transaction.atomic
def put(
    *, actor: User, team: Team, type: str, provider: str, per_member: bool = False, cap: Cap, now: datetime
) -> Limit:
    """Bound what each member draws from the pool (`per_member`), or what the team's own keys spend; it holds at once.

    Raises InvalidRequest as `caps.put` and for the pool itself, which only the house grants; NotFound and
    SecurityViolation as `teams.locked`.
    """
    teams.locked(actor, team, *teams.MANAGERS)
    if not per_member and type not in BUDGETS:
        raise InvalidRequest(
            "The house grants the pool. Here you set budgets for the team's keys, and caps per member.", field="type"
        )
    return caps.put(
        actor=actor,
        owner=owners.of_team(team.pk),
        type=type,
        provider=provider,
        cap=cap,
        per_member=per_member,
        now=now,
    )


@transaction.atomic
def remove(*, actor: User, team: Team, limit_id: int, now: datetime) -> None:
    """Take away what the team bounded itself by. Raises NotFound for any other limit, the pool's too, and as `put`."""
    teams.locked(actor, team, *teams.MANAGERS)
    if not set_by(team).filter(pk=limit_id).exists():
        raise NotFound("The team has no such budget or cap.")
    caps.remove(actor=actor, owner=owners.of_team(team.pk), limit_id=limit_id, now=now)


def set_by(team: Team) -> QuerySet[Limit]:
    """Return what the team's owner and admins may set and remove."""
    return caps.of(owners.of_team(team.pk)).filter(Q(per_member=True) | Q(type__in=BUDGETS))


def standings(team: Team, members: list[Membership], now: datetime) -> dict[UUID, list[QuotaStanding]]:
    """Return how the pool and the budgets stand, by the team's id, and the caps of these members by their users'."""
    whole = owners.of_team(team.pk)
    theirs = {one.user_id: owners.of_member(team.pk, one.user_id) for one in members}
    zone = policy.zones_of([whole])[whole.id]
    found = standing.of_shared([whole, *theirs.values()], zone, list(theirs), now)
    return {team.pk: found[whole.id], **{user: found[one.id] for user, one in theirs.items()}}
