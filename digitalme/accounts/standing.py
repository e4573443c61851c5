"""What still stands of those who call: their tokens, accounts and memberships, asked for many at once."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from digitalme.database import among, as_uuid
from digitalme.statements import Rows, Statement

Membership = tuple[UUID, UUID]


@dataclass(frozen=True, slots=True)
class Standing:
    """Tokens that are not revoked, users who are not disabled, and (user id, team id) of who belongs where.

    A token that expired is not among the revoked: its end was known when the call began.
    """

    tokens: frozenset[UUID | None]
    users: frozenset[UUID | None]
    memberships: frozenset[tuple[UUID | None, UUID | None]]


def of(tokens: Collection[UUID], users: Collection[UUID], memberships: Collection[Membership]) -> Statement[Standing]:
    """Read which of these still stand."""
    (those_tokens, token_ids), (those_users, user_ids) = among(tokens), among(users)
    members, member_ids = among([user for user, _ in memberships])
    teams, team_ids = among([team for _, team in memberships])
    return Statement(
        "SELECT 0, m.user_id, m.team_id FROM accounts_membership m"  # noqa: S608 (constants)
        # First, because PostgreSQL takes the type of a column from the first two branches.
        f" WHERE m.user_id {members} AND m.team_id {teams}"
        " UNION ALL SELECT 1, t.id, NULL FROM accounts_accesstoken t"
        f" WHERE t.revoked_at IS NULL AND t.id {those_tokens}"
        f" UNION ALL SELECT 2, u.id, NULL FROM accounts_user u WHERE u.is_active AND u.id {those_users}",
        [*member_ids, *team_ids, *token_ids, *user_ids],
        _read,
    )


def teams_of(users: Collection[UUID]) -> Statement[dict[UUID, list[UUID]]]:
    """Read the teams that each of these users belongs to."""
    those, ids = among(users)
    return Statement(
        f"SELECT user_id, team_id FROM accounts_membership WHERE user_id {those} ORDER BY id",  # noqa: S608 (constants)
        ids,
        _by_user,
    )


def _by_user(rows: Rows) -> dict[UUID, list[UUID]]:
    found: dict[UUID, list[UUID]] = {}
    for one, other in rows:
        user, team = as_uuid(one), as_uuid(other)
        if user and team:
            found.setdefault(user, []).append(team)
    return found


def _read(rows: Rows) -> Standing:
    found = [(kind, as_uuid(one), as_uuid(other)) for kind, one, other in rows]
    return Standing(
        tokens=frozenset(one for kind, one, _ in found if kind == 1),
        users=frozenset(one for kind, one, _ in found if kind == 2),
        memberships=frozenset((one, other) for kind, one, other in found if kind == 0),
    )
