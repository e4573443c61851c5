"""The rows in which limits are counted: made when a period begins, kept in step with their limits."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Max, Q, QuerySet

from quotas import owners, policy, rollover
from quotas.models import Allocation, Limit, Raise
from quotas.owners import Owner
from quotas.periods import period
from quotas.policy import LimitKey, LimitSpec

LONGEST_PERIOD = timedelta(days=62)
Place = tuple[UUID, LimitKey]


@dataclass(frozen=True, slots=True)
class Need:
    """A row that calls are to be counted in; `zone` is the owner's time zone."""

    owner: Owner
    zone: str
    spec: LimitSpec

    @property
    def place(self) -> Place:
        return self.owner.id, self.spec.key


def open_rows(needs: Iterable[Need], now: datetime) -> dict[Place, Allocation]:
    """Return the rows that cover `now` by (owner id, limit), making those that are not there yet.

    Call it in a transaction. Safe to run in several processes at once: the first one's row stands. The rows go in
    by one statement and in one order everywhere, so that no two processes wait for one another.
    """
    needs = list(needs)
    of = {need.owner.id for need in needs}
    current = _by_place(current_rows(of, now))
    missing = {need.place: need for need in needs if need.place not in current}
    if missing:
        before = _ends_before(of, now)
        rows = [_row(missing[place], now, before.get(place)) for place in sorted(missing, key=str)]
        rollover.move((row, missing[row.owner_id, LimitKey(row.type, row.provider)].spec) for row in rows)
        Allocation.objects.bulk_create(rows, ignore_conflicts=True)
        current = _by_place(current_rows(of, now))
    return current


def current_rows(owner_ids: Collection[UUID], now: datetime) -> list[Allocation]:
    """Return the rows of these owners whose period `now` lies in."""
    return list(Allocation.objects.filter(owner_id__in=owner_ids, period_start__lte=now, period_end__gt=now))


@transaction.atomic
def apply(of: Collection[Owner], *, now: datetime) -> int:
    """Carry changed limits into the rows of current and prepared periods; return how many rows changed.

    What is used stays used. A row whose limit is gone binds no longer. New limits need nothing: their
    rows come into being at the next call.
    """
    rows = _rows_of(of).filter(period_end__gt=now).order_by("id").select_for_update()
    limits = policy.allowed_for({*of, *(owners.of_row(row) for row in rows)}, at=now)
    return sum(_apply(row, policy.spec_of(limits.get(row.owner_id, []), row.type, row.provider)) for row in rows)


def _rows_of(of: Collection[Owner]) -> QuerySet[Allocation]:
    """Return the rows of these owners; of a team's, those of its members too."""
    teams = {one.team_id for one in of if one.scope == owners.TEAM}
    return Allocation.objects.filter(Q(owner_id__in={one.id for one in of}) | Q(team_id__in=teams))


@transaction.atomic
def lapse(user_ids: Collection[UUID] | None = None, *, now: datetime) -> int:
    """Take back what raises allowed whose time is over, of these users or of all; return of how many raises.

    Safe to run in several processes at once.
    """
    over = Raise.objects.filter(state=Raise.State.GRANTED, ends_at__lte=now)
    if user_ids is not None:
        over = over.filter(user_id__in=user_ids)
    found = dict(over.values_list("pk", "user_id"))
    if found:
        Raise.objects.filter(pk__in=found).update(state=Raise.State.ENDED)
        apply({owners.of_user(one) for one in found.values()}, now=now)
    return len(found)


def _apply(row: Allocation, spec: LimitSpec | None) -> int:
    """Write what is allowed only: what is used belongs to the ledger."""
    if spec is None:
        return Allocation.objects.filter(id=row.id, is_active=True).update(is_active=False)
    wanted = {**_allowed_in(row, spec), "is_active": True}
    if all(getattr(row, name) == value for name, value in wanted.items()):
        return 0
    return Allocation.objects.filter(id=row.id).update(**wanted)


def as_allowed(row: Allocation, limits: Iterable[Limit]) -> Allocation:
    """Return the row, unsaved, with what these limits allow."""
    if spec := policy.spec_of(limits, row.type, row.provider):
        for name, value in _allowed_in(row, spec).items():
            setattr(row, name, value)
    return row


def _allowed_in(row: Allocation, spec: LimitSpec) -> dict[str, object]:
    """Return what the spec allows in this row: what was carried over into it, received and given away stays so."""
    wanted = _allowed(spec)
    for name in rollover.DIMENSIONS:
        amount = getattr(spec, name)
        if amount is not None:
            more = getattr(row, f"rollover_{name}") + getattr(row, f"received_{name}")
            wanted[f"allowed_{name}"] = max(amount * 0, amount + more - getattr(row, f"given_{name}"))
    return wanted


def _allowed(spec: LimitSpec) -> dict[str, object]:
    return {
        "binds": spec.binds,
        "allowed_requests": spec.requests,
        "allowed_tokens": spec.tokens,
        "allowed_cost": spec.cost,
        "soft": spec.soft,
        "pace_from": spec.pace_from,
        "buffer_percent": spec.buffer_percent,
        "buffer_uses": spec.buffer_uses,
    }


def _by_place(rows: Iterable[Allocation]) -> dict[Place, Allocation]:
    return {(row.owner_id, LimitKey(row.type, row.provider)): row for row in rows}


def _ends_before(owner_ids: Collection[UUID], now: datetime) -> dict[Place, datetime]:
    """Return when the period before ended, where there was one lately."""
    ended = Allocation.objects.filter(owner_id__in=owner_ids, period_end__lte=now, period_end__gt=now - LONGEST_PERIOD)
    found = ended.order_by().values_list("owner_id", "type", "provider").annotate(end=Max("period_end"))
    return {(owner, LimitKey(type_, provider)): end for owner, type_, provider, end in found}


def _row(need: Need, now: datetime, after: datetime | None) -> Allocation:
    start, end = period(need.spec.type, now, need.zone, after=after)
    return Allocation(
        owner_id=need.owner.id,
        user_id=need.owner.user_id,
        team_id=need.owner.team_id,
        token_id=need.owner.token_id,
        provider=need.spec.provider,
        type=need.spec.type,
        period_start=start,
        period_end=end,
        **_allowed(need.spec),
    )


def prepare(*, now: datetime, ahead: timedelta, at_once: int = 500) -> int:
    """Make the rows that follow on those which end within `ahead`; return how many there were to make.

    Only where something was used: who was away makes no work.
    """
    ending = Allocation.objects.filter(
        period_start__lte=now, period_end__gt=now, period_end__lte=now + ahead, is_active=True
    ).exclude(used_requests=0, used_tokens=0)
    total, rows = 0, list(ending.order_by("id"))
    for first in range(0, len(rows), at_once):
        batch = rows[first : first + at_once]
        by_end: dict[datetime, list[Allocation]] = {}
        for row in batch:
            by_end.setdefault(row.period_end, []).append(row)
        for end, of_end in by_end.items():
            of = {owners.of_row(row) for row in of_end}
            limits, zones = policy.allowed_for(of, at=end), policy.zones_of(of)
            found = [(row, policy.spec_of(limits.get(row.owner_id, []), row.type, row.provider)) for row in of_end]
            # What is left of a period is known at its end only, so one that rolls over begins with its first call.
            needs = [
                Need(owners.of_row(row), zones[row.owner_id], spec) for row, spec in found if spec and not spec.rollover
            ]
            total += len(needs)
            with transaction.atomic():
                open_rows(needs, end)
    return total
