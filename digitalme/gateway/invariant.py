"""The ledger's invariant: for every allocation, used = settled records + live leases."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db import connection, transaction
from django.db.models import QuerySet

from digitalme.database import from_nano, to_nano
from quotas.models import Allocation, Lease
from usage import recorder, retention

DIMENSIONS = ("requests", "tokens", "cost")


@dataclass(frozen=True, slots=True)
class Difference:
    """An allocation whose counter is not what its records and leases add up to."""

    allocation_id: UUID
    dimension: str
    used: int
    recorded: int
    held: int

    def __str__(self) -> str:
        numbers = [self.used, self.recorded, self.held]
        used, recorded, held = map(from_nano, numbers) if self.dimension == "cost" else numbers
        return (
            f"Allocation {self.allocation_id}: {self.dimension} used is {used}, but records ({recorded}) and "
            f"leases ({held}) add up to {recorded + held}."
        )


def differences() -> list[Difference]:
    """Compare every allocation within one snapshot of the database, while calls go on; but for those of periods from
    which retention deleted records."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        recorded = recorder.charged_per_allocation()
        held = _held()
        return [
            Difference(allocation.id, dimension, used, was_recorded, is_held)
            for allocation in _provable().iterator()
            for dimension, used, was_recorded, is_held in zip(
                DIMENSIONS,
                _used(allocation),
                recorded.get(allocation.id, (0, 0, 0)),
                held.get(allocation.id, (0, 0, 0)),
                strict=True,
            )
            if used != was_recorded + is_held
        ]


def _provable() -> QuerySet[Allocation]:
    begin = retention.kept_from()
    return Allocation.objects.filter(period_start__gte=begin) if begin else Allocation.objects.all()


def _used(allocation: Allocation) -> tuple[int, int, int]:
    return allocation.used_requests, allocation.used_tokens, to_nano(allocation.used_cost)


def _held() -> dict[UUID, tuple[int, int, int]]:
    leases = (
        ((UUID(one) for one in lease.allocations), lease.reserved_requests, lease.reserved_tokens, lease.reserved_cost)
        for lease in Lease.objects.iterator()
    )
    return _sums((ids, (requests, tokens, to_nano(cost))) for ids, requests, tokens, cost in leases)


def _sums(entries: Iterable[tuple[Iterable[UUID], tuple[int, int, int]]]) -> dict[UUID, tuple[int, int, int]]:
    totals: Counter[tuple[UUID, int]] = Counter()
    for ids, amounts in entries:
        for one in ids:
            for place, amount in enumerate(amounts):
                totals[one, place] += amount
    return {one: (totals[one, 0], totals[one, 1], totals[one, 2]) for one, _ in totals}
