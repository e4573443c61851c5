"""Which rows a call must find, so that a warm ledger asks for nothing and a missing row is noticed."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import transaction

from quotas import allocations, owners, policy
from quotas.allocations import Need
from quotas.models import HOUSE, Raise
from quotas.owners import Owner

# A limit that an administrator adds binds within this time where its row is not made at once.
KNOWN_SECONDS = 60
MOST_KNOWN = 50_000


class Caller(NamedTuple):
    """Who calls which provider, and in which time zone the caller's days begin."""

    user_id: UUID
    provider: str
    time_zone: str = policy.NO_ZONE
    token_id: UUID | None = None

    @property
    def place(self) -> "Place":
        return self.user_id, self.token_id, self.provider


Place = tuple[UUID, UUID | None, str]
# What tells a row from another in one period: its owner, type and provider.
RowKey = tuple[UUID, str, str]


class Known(NamedTuple):
    """What is known of a caller: between these moments these rows must be there, and these are the
    caller's teams."""

    since: datetime
    until: datetime
    rows: frozenset[RowKey]
    teams: tuple[UUID, ...]


_known: dict[Place, Known] = {}


class MissingPeriods(Exception):
    """Rows that must bind a call are not there (yet): nothing was booked. `wanted` names the callers for
    `ensure_periods`."""

    def __init__(self, wanted: Collection[Caller]) -> None:
        super().__init__(f"{len(wanted)} callers lack a row for this period.")
        self.wanted = wanted


def expected(place: Place, now: datetime) -> Known | None:
    """Return which rows must be there, or None where that is not known for this moment."""
    known = _known.get(place)
    return known if known and known.since <= now < known.until else None


def owners_of(places: Iterable[Place]) -> set[UUID]:
    """Return the ids of all in whose rows calls from these places may be counted, as far as it is known."""
    found: set[UUID] = {HOUSE}
    for place in places:
        user, token, _ = place
        found.add(user)
        if token:
            found.add(token)
        known = _known.get(place)
        if known and known.teams:
            for team in known.teams:
                found.update((team, owners.of_member(team, user).id))
    return found


def teams_of(place: Place) -> tuple[UUID, ...]:
    """Return the teams whose rows are locked for calls from this place."""
    known = _known.get(place)
    return known.teams if known else ()


def forget(user_id: UUID | None = None) -> None:
    """Forget what is known of one user, or of everybody."""
    if user_id is None:
        _known.clear()
    else:
        for place in [place for place in list(_known) if place[0] == user_id]:
            _known.pop(place, None)


def forget_place(place: Place) -> None:
    """Forget what is known of one place."""
    _known.pop(place, None)


def ensure_periods(wanted: Collection[Caller], *, now: datetime) -> None:
    """Make the rows that these callers need, in a transaction of its own.

    Call it before the transaction that reserves. Costs nothing for what is known already. Users who
    do not exist stay unknown, so that nothing is reserved for them.
    """
    unknown = {caller for caller in wanted if expected(caller.place, now) is None}
    if not unknown:
        return
    users = {caller.user_id for caller in unknown}
    raises = policy.granted_to(users)
    _take_back(raises, now)
    teams = policy.teams_of(users)
    of = {caller: _owners(caller, teams.get(caller.user_id, ())) for caller in unknown}
    everybody = {one for some in of.values() for one in some}
    limits = policy.allowed_for(everybody, at=now, granted=raises)
    shared = policy.zones_of([one for one in everybody if one.team_id])
    needs = {
        caller: [
            Need(one, _zone(one, caller, shared), spec)
            for one in some
            for spec in policy.specs(limits[one.id], caller.provider)
        ]
        for caller, some in of.items()
        if caller.user_id in limits
    }
    with transaction.atomic():
        rows = allocations.open_rows([need for some in needs.values() for need in some], now)
    if len(_known) > MOST_KNOWN:
        _known.clear()
    for caller, some in needs.items():
        ends = [rows[need.place].period_end for need in some if need.place in rows]
        until = min([*ends, *_ends(raises, caller.user_id, now), now + timedelta(seconds=KNOWN_SECONDS)])
        keys = frozenset((need.owner.id, need.spec.type, need.spec.provider) for need in some)
        _known[caller.place] = Known(now, until, keys, tuple(teams.get(caller.user_id, ())))


def _owners(caller: Caller, teams: Iterable[UUID]) -> list[Owner]:
    found = [owners.of_user(caller.user_id), owners.THE_HOUSE]
    if caller.token_id:
        found.append(owners.of_token(caller.token_id))
    for team in teams:
        found += [owners.of_team(team), owners.of_member(team, caller.user_id)]
    return found


def _zone(owner: Owner, caller: Caller, shared: dict[UUID, str]) -> str:
    if owner.team_id:
        return shared.get(owner.id, policy.NO_ZONE)
    return policy.NO_ZONE if owner == owners.THE_HOUSE else caller.time_zone


def _take_back(raises: Collection[Raise], now: datetime) -> None:
    """Take back what raises allowed whose time is over."""
    if over := {one.user_id for one in raises if one.ends_at and one.ends_at <= now}:
        allocations.lapse(over, now=now)


def _ends(raises: Collection[Raise], user_id: UUID, now: datetime) -> list[datetime]:
    return [one.ends_at for one in raises if one.user_id == user_id and one.ends_at and one.ends_at > now]
