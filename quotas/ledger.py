"""Reserve before a call, settle after it: the counters that no call escapes.

All but `ensure_periods` is a part of its caller's transaction (digitalme.statements): what must be known
is asked first, then it is reckoned, then what writes it down is handed to the caller, who can so send it
together with statements of its own. Locks are taken in one order everywhere, leases before
allocations and allocations by id, so that processes cannot wait for one another in a circle.
"""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from digitalme.database import among, on_sqlite, parameters
from digitalme.statements import Statement
from quotas import known, leases, posting
from quotas.decision import Amounts, Standing
from quotas.known import Caller, MissingPeriods, Place, ensure_periods
from quotas.leases import LEASE_SECONDS, RENEW_SECONDS, Hold, LeaseFacts, expired, renew
from quotas.posting import FALLBACK, Ended, Granted, Posting, Refused, Settled, Settlement

__all__ = [
    "FALLBACK",
    "LEASE_SECONDS",
    "RENEW_SECONDS",
    "Amounts",
    "Caller",
    "Granted",
    "Hold",
    "LeaseFacts",
    "MissingPeriods",
    "Place",
    "Posting",
    "Refused",
    "Settled",
    "Settlement",
    "Standing",
    "end",
    "ensure_periods",
    "expired",
    "lock",
    "renew",
]


def lock(places: Collection[Place], *, beside: Collection[UUID] = (), now: datetime) -> Statement[Posting]:
    """Lock the current rows in which calls from these places are counted, and those `beside` them by id, in
    the order of their ids; read them as a posting to settle and reserve in."""
    of_owners, owners = among(known.owners_of(places) if places else ())
    for_providers, providers = among({"", *(provider for _, _, provider in places)})
    these, ids = among(beside)
    begin = parameters([now, now])
    return Statement(
        f"SELECT {posting.COLUMNS}, period_start <= %s AND period_end > %s FROM quotas_allocation"  # noqa: S608
        f" WHERE (owner_id {of_owners} AND provider {for_providers} AND period_start <= %s AND period_end > %s)"
        f" OR id {these} ORDER BY id{_for_update()}",
        [*begin, *owners, *providers, *begin, *ids],
        Posting,
    )


def end(request_ids: Collection[UUID]) -> Statement[Ended]:
    """End leases, to be settled; read the allocations and amounts of those that were there."""
    return leases.delete(request_ids)


def _for_update() -> str:
    """SQLite's transactions are immediate: one writer at a time, so its rows need no locks."""
    return "" if on_sqlite() else " FOR UPDATE"
