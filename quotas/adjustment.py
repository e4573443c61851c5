"""How much of the tier's allowance a person gets: a share that follows from what is known of them, in words.

Computed once a day, bounded, and in the hands of staff, who may set it instead. Limits of a person's own, budgets, caps
and teams' pools are what somebody decided, and stay as they are.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import transaction

from digitalme.accounts.models import User
from digitalme.audit import log as trail
from digitalme.audit.actions import Action
from digitalme.errors import InvalidRequest
from quotas import limits
from quotas.models import Adjustment

log = logging.getLogger(__name__)
# In percent of what the tier allows.
USUAL, LEAST, MOST = 100, 50, 150
OLD_DAYS, OLDER_DAYS = 30, 180
STEADY_DAYS = 15
FAILED_VALIDATIONS = 3
# From so many calls a week on, of which this many percent were refused, a program runs against its limits.
REFUSED_CALLS, REFUSED_PERCENT = 200, 50


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a person: days since the account was made, payment status, days with calls among the last
    30, rejected tests of keys, calls and refusals within the last 7."""

    account_days: int
    payment: str = Adjustment.Payment.NONE
    paying_tier: bool = False
    active_days: int = 0
    failed_validations: int = 0
    calls: int = 0
    refused: int = 0


class Reason(NamedTuple):
    """One thing that raises or lowers the share, by so many points."""

    points: int
    words: str


def reasons(facts: Facts) -> list[Reason]:
    """Return what speaks for more and for less."""
    found = []
    if facts.account_days >= OLDER_DAYS:
        found.append(Reason(10, "The account is older than half a year."))
    elif facts.account_days >= OLD_DAYS:
        found.append(Reason(5, "The account is older than a month."))
    if facts.paying_tier:
        found.append(Reason(5, "The account is on a tier above the usual one."))
    if facts.payment == Adjustment.Payment.PAID:
        found.append(Reason(15, "Payments arrive."))
    elif facts.payment == Adjustment.Payment.OVERDUE:
        found.append(Reason(-30, "A payment is overdue."))
    if facts.active_days >= STEADY_DAYS:
        found.append(Reason(10, f"There were calls on {facts.active_days} of the last 30 days."))
    if facts.failed_validations >= FAILED_VALIDATIONS:
        found.append(Reason(-20, f"Providers rejected {facts.failed_validations} keys that were tested this week."))
    if facts.calls >= REFUSED_CALLS and facts.refused * 100 >= facts.calls * REFUSED_PERCENT:
        found.append(Reason(-20, f"{facts.refused} of {facts.calls} calls this week ran against a limit."))
    return found


def share(found: Iterable[Reason]) -> int:
    """Return the share in percent that follows from the reasons: from LEAST to MOST."""
    return max(LEAST, min(MOST, USUAL + sum(one.points for one in found)))


def adjust(known: Mapping[UUID, Facts], *, now: datetime) -> int:
    """Compute the share of each of these users and let it hold at once; return for how many it changed. Safe to run
    twice."""
    return sum(_adjust(user_id, facts, now) for user_id, facts in known.items())


@transaction.atomic
def _adjust(user_id: UUID, facts: Facts, now: datetime) -> bool:
    found = reasons(facts)
    percent = share(found)
    Adjustment.objects.get_or_create(user_id=user_id)
    row = Adjustment.objects.select_for_update().get(user_id=user_id)
    before = row.effective
    row.percent, row.reasons, row.computed_at = percent, [list(one) for one in found], now
    row.save(update_fields=["percent", "reasons", "computed_at"])
    if row.effective == before:
        return False
    limits.hold_at_once([user_id], now=now)
    _record(row, None)
    return True


@transaction.atomic
def override(
    *, actor: User | None, row: Adjustment, percent: int | None, payment: str, why: str, now: datetime
) -> None:
    """Set the share by hand, or None to let it be computed again; it holds at once, the payment status from the next
    computation on. Raises InvalidRequest for a share out of bounds or one without a reason."""
    if percent is not None and not LEAST <= percent <= MOST:
        raise InvalidRequest(f"The share is a number from {LEAST} to {MOST}.")
    if percent is not None and not why.strip():
        raise InvalidRequest("Say why: the person reads it.")
    row.override_percent, row.override_why, row.payment = percent, why.strip() if percent is not None else "", payment
    row.save()
    limits.hold_at_once([row.user_id], now=now)
    _record(row, actor)


def explained(user: User) -> tuple[int, Sequence[str]]:
    """Return a person's share in percent and why it is that, in sentences."""
    row = Adjustment.objects.filter(user=user).first()
    if row is None:
        return USUAL, ()
    return row.effective, row.words


def _record(row: Adjustment, actor: User | None) -> None:
    log.info("share set user=%s percent=%s by=%s", row.user_id, row.effective, actor.pk if actor else "job")
    place = f"user:{row.user_id}"
    trail.record(
        Action.LIMITS_ADJUSTED, target=place, subject=place, actor=actor.pk if actor else None, percent=row.effective
    )
