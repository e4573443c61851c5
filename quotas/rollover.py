"""What is left of one period is carried into the next: moved, so that it can be used once.

The row of the period that ended gives away what the new one gets. So a call that is still counted in the old
period, because a clock is behind or was set back, finds what was not carried over, and nothing is allowed twice.
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from quotas.models import WHOLE, Allocation
from quotas.policy import MOST_REQUESTS, LimitKey, LimitSpec

DIMENSIONS = ("requests", "tokens", "cost")
Carried = dict[str, int | Decimal]


def carry(old: Allocation, spec: LimitSpec) -> Carried:
    """Return what the period that follows `old` gets: what is left of the old one's own allowance, at most a share
    of the limit. What was carried into the old one, or received there, is used first, and goes no further."""
    found: Carried = {}
    for name in DIMENSIONS:
        limit, allowed = getattr(spec, name), getattr(old, f"allowed_{name}")
        if limit is None or allowed is None:
            continue
        own = allowed - getattr(old, f"rollover_{name}") - getattr(old, f"received_{name}")
        most = _share(limit, spec.rollover)
        if name == "requests":
            most = min(most, max(0, MOST_REQUESTS - limit))
        found[name] = max(limit * 0, min(own, allowed - getattr(old, f"used_{name}"), most))
    return {name: amount for name, amount in found.items() if amount}


def _share(limit: int | Decimal, percent: int) -> int | Decimal:
    return limit * percent // WHOLE if isinstance(limit, int) else limit * percent / WHOLE


def move(fresh: Iterable[tuple[Allocation, LimitSpec]]) -> None:
    """Give new rows, which are not stored yet, what is left of the periods before. The old rows are locked, so that of
    two processes which begin a period the second finds that it has begun; call it in the transaction that stores them.
    """
    rolling = {(row.owner_id, spec.key, row.period_start): (row, spec) for row, spec in fresh if spec.rollover}
    if not rolling:
        return
    owners, starts = {owner for owner, _, _ in rolling}, {start for _, _, start in rolling}
    ended = Allocation.objects.filter(owner_id__in=owners, period_end__in=starts, is_active=True)
    locked = list(ended.order_by("id").select_for_update())
    begun = _begun(owners, starts)
    for old in locked:
        key = old.owner_id, LimitKey(old.type, old.provider), old.period_end
        if key not in rolling or key in begun:
            continue
        row, spec = rolling[key]
        carried = carry(old, spec)
        for name, amount in carried.items():
            setattr(row, f"rollover_{name}", amount)
            setattr(row, f"allowed_{name}", getattr(row, f"allowed_{name}") + amount)
        if carried:
            less = {f"allowed_{name}": getattr(old, f"allowed_{name}") - amount for name, amount in carried.items()}
            Allocation.objects.filter(id=old.id).update(**less)


def _begun(owners: set[UUID], starts: set[datetime]) -> set[tuple[UUID, LimitKey, datetime]]:
    there = Allocation.objects.filter(owner_id__in=owners, period_start__in=starts)
    found = there.order_by().values_list("owner_id", "type", "provider", "period_start")
    return {(owner, LimitKey(type_, provider), start) for owner, type_, provider, start in found}
