"""May a call start? A pure function of the limits, what the call can reach, and who pays."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from uuid import UUID

from quotas import pacing
from quotas.models import Binds

DIMENSIONS = ("requests", "tokens", "cost")
_SYSTEM, _OWN, _ALL, _FALLBACK = Binds.SYSTEM.value, Binds.OWN.value, Binds.ALL.value, Binds.FALLBACK.value


@dataclass(frozen=True, slots=True)
class Amounts:
    """Requests, tokens and US dollars in billionths."""

    requests: int = 0
    tokens: int = 0
    cost: int = 0

    def __sub__(self, other: "Amounts") -> "Amounts":
        return Amounts(self.requests - other.requests, self.tokens - other.tokens, self.cost - other.cost)


@lru_cache(4096)
def _limited(allowed: tuple[int | None, int | None, int | None]) -> tuple[tuple[int, int], ...]:
    """Return (place, amount) of the dimensions that are limited at all."""
    return tuple((place, amount) for place, amount in enumerate(allowed) if amount is not None)


@dataclass(slots=True)
class AllocationState:
    """An allocation's row while it is locked. `used` changes as calls of one batch are decided in turn."""

    id: UUID
    owner_id: UUID
    provider: str
    type: str
    binds: str
    allowed: tuple[int | None, int | None, int | None]
    used: list[int]
    resets_at: datetime
    is_active: bool = True
    soft: bool = False
    pace_from: int = 100
    starts_at: datetime | None = None
    limited: tuple[tuple[int, int], ...] = field(init=False)

    def __post_init__(self) -> None:
        self.limited = _limited(self.allowed)


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


@dataclass(frozen=True, slots=True)
class Obstacle:
    """The limit that leaves no room for a call."""

    allocation: AllocationState
    standing: Standing


def binds(allocation: AllocationState, provider: str, own_key: bool, fallback: bool = False) -> bool:
    """Tell whether this allocation counts a call to the provider on an own or a team's key, or on the house's,
    there perhaps as a `fallback` for an own one that failed."""
    if not allocation.is_active or (allocation.provider and allocation.provider != provider):
        return False
    if allocation.binds == _FALLBACK:
        return fallback
    return allocation.binds == _ALL or allocation.binds == (_OWN if own_key else _SYSTEM)


def decide(allocations: Sequence[AllocationState], estimate: Amounts) -> Obstacle | None:
    """Return the first limit that leaves no room for the estimate, or None if every one does.

    All or nothing: a call starts only if all limits in all three dimensions can bear all that it can
    reach. A limit that is used up refuses only what would raise it, a soft one nothing.
    """
    wanted = (estimate.requests, estimate.tokens, estimate.cost)
    for allocation in allocations:
        used = allocation.used
        for place, allowed in allocation.limited:
            if wanted[place] and used[place] + wanted[place] > allowed and not allocation.soft:
                return Obstacle(allocation, _standing(allocation, place, allowed))
    return None


@dataclass(frozen=True, slots=True)
class Slowed:
    """How long a call waits, so that what is left of a limit lasts."""

    obstacle: Obstacle
    seconds: float

    @property
    def by_estimate(self) -> bool:
        """Whether it rests on amounts of which running calls may hold more than they need."""
        return self.obstacle.standing.dimension != DIMENSIONS[0]


def slowed(
    allocations: Iterable[AllocationState],
    estimate: Amounts,
    now: datetime,
    held: Mapping[UUID, Amounts] = MappingProxyType({}),
) -> Slowed | None:
    """Return the longest wait that a limit asks for, before the call is counted; None if it may start at once.

    What running calls hold of tokens and money is mostly more than they need, so where `held` tells it, it does
    not count; the requests that they hold are made.
    """
    wanted = (estimate.requests, estimate.tokens, estimate.cost)
    longest: tuple[float, AllocationState, int, int] | None = None
    for one in allocations:
        for place, allowed in one.limited:
            used = one.used[place]
            if place and one.id in held:
                used -= getattr(held[one.id], DIMENSIONS[place])
            # Most calls are below the share, which is seen without further ado.
            if used * 100 <= allowed * one.pace_from or not wanted[place] or one.starts_at is None:
                continue
            wait = pacing.wait(
                used, allowed, one.pace_from, now=now, starts_at=one.starts_at, ends_at=one.resets_at
            ).total_seconds()
            if wait > (longest[0] if longest else 0):
                longest = wait, one, place, allowed
    if longest is None:
        return None
    seconds, one, place, allowed = longest
    return Slowed(Obstacle(one, _standing(one, place, allowed)), seconds)


def beyond(
    allocations: Sequence[AllocationState], estimate: Amounts, buffers: Mapping[UUID, int]
) -> list[AllocationState] | None:
    """Return the limits that the call would go beyond, or None if that is further than their buffers reach.

    `buffers` has by how many percent of itself each limit may be passed.
    """
    wanted = (estimate.requests, estimate.tokens, estimate.cost)
    passed = []
    for one in allocations:
        over = [
            used + amount - allowed * (100 + buffers.get(one.id, 0)) // 100
            for place, allowed in one.limited
            for used, amount in [(one.used[place], wanted[place])]
            if amount and used + amount > allowed and not one.soft
        ]
        if any(amount > 0 for amount in over):
            return None
        if over:
            passed.append(one)
    return passed


def overspent(allocations: Iterable[AllocationState]) -> Standing | None:
    """Return the first soft limit that is passed."""
    for allocation in allocations:
        for place, allowed in allocation.limited:
            if allocation.soft and allocation.used[place] > allowed:
                return _standing(allocation, place, allowed)
    return None


def tightest(allocations: Iterable[AllocationState]) -> Standing | None:
    """Return the limit of which the smallest share is left; None if nothing is limited."""
    found: tuple[AllocationState, int, int] | None = None
    least = 2.0
    for allocation in allocations:
        used = allocation.used
        for place, allowed in allocation.limited:
            share = (allowed - used[place]) / allowed if allowed else 0.0
            if share < least:
                least, found = share, (allocation, place, allowed)
    return _standing(*found) if found else None


def _standing(allocation: AllocationState, place: int, allowed: int) -> Standing:
    return Standing(
        allocation.type, allocation.provider, DIMENSIONS[place], allowed, allocation.used[place], allocation.resets_at
    )
