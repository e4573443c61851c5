"""May a call start? A pure function of the limits, what the call can reach, and who pays."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from quotas.models import Binds

DIMENSIONS = ("requests", "tokens", "cost")


@dataclass(frozen=True, slots=True)
class Amounts:
    """Requests, tokens and US dollars in billionths."""

    requests: int = 0
    tokens: int = 0
    cost: int = 0

    def __sub__(self, other: "Amounts") -> "Amounts":
        return Amounts(self.requests - other.requests, self.tokens - other.tokens, self.cost - other.cost)


@dataclass(slots=True)
class AllocationState:
    """An allocation's row while it is locked. `used` changes as calls of one batch are decided in turn."""

    id: UUID
    user_id: UUID
    provider: str
    type: str
    binds: str
    allowed: tuple[int | None, int | None, int | None]
    used: list[int]
    resets_at: datetime
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class Standing:
    """How one dimension of one limit stands. Cost is in billionths of a US dollar."""

    type: str
    provider: str
    dimension: str
    allowed: int
    used: int
    resets_at: datetime

    @property
    def remaining(self) -> int:
        """What is left; never below zero."""
        return max(0, self.allowed - self.used)


def binds(allocation: AllocationState, provider: str, own_key: bool) -> bool:
    """Tell whether this allocation counts a call to the provider on an own key or on the house's."""
    if not allocation.is_active or allocation.provider not in ("", provider):
        return False
    return allocation.binds == Binds.ALL or (allocation.binds == Binds.OWN) is own_key


def decide(allocations: Sequence[AllocationState], estimate: Amounts) -> Standing | None:
    """Return the first limit that leaves no room for the estimate, or None if every one does.

    All or nothing: a call starts only if all limits in all three dimensions can bear all that it can
    reach. An exhausted limit also refuses what costs nothing in that dimension only if the call
    would raise it.
    """
    wanted = (estimate.requests, estimate.tokens, estimate.cost)
    for allocation in allocations:
        for place, dimension in enumerate(DIMENSIONS):
            allowed = allocation.allowed[place]
            if allowed is not None and wanted[place] and allocation.used[place] + wanted[place] > allowed:
                return _standing(allocation, place, dimension, allowed)
    return None


def tightest(allocations: Iterable[AllocationState]) -> Standing | None:
    """Return the limit of which the smallest share is left; None if nothing is limited."""
    found: Standing | None = None
    least = 2.0
    for allocation in allocations:
        for place, dimension in enumerate(DIMENSIONS):
            allowed = allocation.allowed[place]
            if allowed is None:
                continue
            share = (allowed - allocation.used[place]) / allowed if allowed else 0.0
            if share < least:
                least, found = share, _standing(allocation, place, dimension, allowed)
    return found


def _standing(allocation: AllocationState, place: int, dimension: str, allowed: int) -> Standing:
    return Standing(
        allocation.type, allocation.provider, dimension, allowed, allocation.used[place], allocation.resets_at
    )
