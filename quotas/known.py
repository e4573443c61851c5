"""Which rows a call must find, so that a warm ledger asks for nothing and a missing row is noticed."""

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from quotas import allocations, policy
from quotas.allocations import Need
from quotas.models import Raise
from quotas.policy import LimitKey

# A limit that an administrator adds binds within this time where its row is not made at once.
KNOWN_SECONDS = 60
MOST_KNOWN = 50_000

Place = tuple[UUID, str]
_known: dict[Place, tuple[datetime, datetime, frozenset[LimitKey]]] = {}


class MissingPeriods(Exception):
    """Rows that must bind a call are not there (yet): nothing was booked. `wanted` names them for
    `ensure_periods`."""

    def __init__(self, wanted: Collection[tuple[UUID, str, str]]) -> None:
        super().__init__(f"{len(wanted)} callers lack a row for this period.")
        self.wanted = wanted


def expected(user_id: UUID, provider: str, now: datetime) -> frozenset[LimitKey] | None:
    """Return the limits of which a row must be there, or None where that is not known for this moment."""
    known = _known.get((user_id, provider))
    return known[2] if known and known[0] <= now < known[1] else None


def forget(user_id: UUID | None = None, provider: str | None = None) -> None:
    """Forget what is known of one user and provider, of all providers of a user, or of everybody."""
    if user_id is None:
        _known.clear()
    elif provider is not None:
        _known.pop((user_id, provider), None)
    else:
        for place in [place for place in list(_known) if place[0] == user_id]:
            _known.pop(place, None)


def ensure_periods(wanted: Collection[tuple[UUID, str, str]], *, now: datetime) -> None:
    """Make the rows that calls of (user id, provider, time zone) need, in a transaction of its own.

    Call it before the transaction that reserves. Costs nothing for what is known already. Users who
    do not exist stay unknown, so that nothing is reserved for them.
    """
    unknown = {entry for entry in wanted if expected(entry[0], entry[1], now) is None}
    if not unknown:
        return
    users = {user_id for user_id, _, _ in unknown}
    raises = policy.granted_to(users)
    _take_back(raises, now)
    limits = policy.allowed_for(users, at=now, granted=raises)
    specs = {entry: policy.specs(limits[entry[0]], entry[1]) for entry in unknown if entry[0] in limits}
    needs = [Need(user_id, zone, spec) for (user_id, _, zone), of_entry in specs.items() for spec in of_entry]
    with transaction.atomic():
        rows = allocations.open_rows(needs, now)
    if len(_known) > MOST_KNOWN:
        _known.clear()
    for (user_id, provider, _), of_entry in specs.items():
        keys = frozenset(spec.key for spec in of_entry)
        there = [rows[user_id, key] for key in keys if (user_id, key) in rows]
        soon = [now + timedelta(seconds=KNOWN_SECONDS), *_ends(raises, user_id, now)]
        until = min([row.period_end for row in there] + soon)
        _known[user_id, provider] = now, until, keys


def _take_back(raises: Collection[Raise], now: datetime) -> None:
    """Take back what raises allowed whose time is over."""
    if over := {one.user_id for one in raises if one.ends_at and one.ends_at <= now}:
        allocations.lapse(over, now=now)


def _ends(raises: Collection[Raise], user_id: UUID, now: datetime) -> list[datetime]:
    return [one.ends_at for one in raises if one.user_id == user_id and one.ends_at and one.ends_at > now]
