"""Whose a limit is: a user's, a team's, a member's within a team, an access token's, or the house's."""

from typing import NamedTuple
from uuid import UUID, uuid5

from quotas.models import HOUSE, Allocation, Limit

USER, TEAM, MEMBER, TOKEN, OF_HOUSE = "user", "team", "member", "token", "house"


class Owner(NamedTuple):
    """`id` is what the ledger goes by; the others name the rows that it belongs to."""

    id: UUID
    user_id: UUID | None = None
    team_id: UUID | None = None
    token_id: UUID | None = None

    @property
    def scope(self) -> str:
        """One of user, team, member, token, house."""
        if self.token_id:
            return TOKEN
        if self.team_id:
            return MEMBER if self.user_id else TEAM
        return USER if self.user_id else OF_HOUSE

    @property
    def place(self) -> str:
        """Return whose limits these are, as the audit trail names it."""
        if self.token_id:
            return f"token:{self.token_id}"
        if self.team_id:
            return f"team:{self.team_id}"
        return f"user:{self.user_id}" if self.user_id else "system"


THE_HOUSE = Owner(HOUSE)


def of_user(user_id: UUID) -> Owner:
    """Return the owner that a user is."""
    return Owner(user_id, user_id=user_id)


def of_team(team_id: UUID) -> Owner:
    """Return the owner that a team is."""
    return Owner(team_id, team_id=team_id)


def of_member(team_id: UUID, user_id: UUID) -> Owner:
    """Return the owner of what one member draws from a team's pool."""
    return Owner(uuid5(team_id, str(user_id)), user_id=user_id, team_id=team_id)


def of_token(token_id: UUID) -> Owner:
    """Return the owner that an access token is."""
    return Owner(token_id, token_id=token_id)


def of_row(row: Allocation) -> Owner:
    """Return whose row this is."""
    return Owner(row.owner_id, row.user_id, row.team_id, row.token_id)


def of_limit(limit: Limit) -> Owner:
    """Return whose limit this is, where it is not a tier's. What each member may draw counts as the team's."""
    owner = limit.user_id or limit.team_id or limit.token_id or HOUSE
    return Owner(owner, limit.user_id, limit.team_id, limit.token_id)
