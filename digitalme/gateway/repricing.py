"""Price calls again: those whose price was not known when they were made, or all of a span by the prices that hold now.

What a record keeps of its usage gives the same cost each time, by the prices of the day of the call. The record's cost
always follows. What limits were charged follows only while that can still matter: if one of the periods that the call
counted in still runs, and on the house's keys only to people's advantage, since what they were told they had left they
may have spent. Charges of periods that are over are history. A charge is changed on all limits of its call alike, so
that the ledger's sums stay those of its records.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from apikeys.resolution import KeySource
from digitalme.audit import log as audit
from digitalme.audit.actions import Action
from digitalme.database import to_nano
from digitalme.errors import NotFound
from digitalme.statements import send
from providers import counts, pricing, registry
from providers.operations import Operation
from providers.pricing import Price
from providers.registry import Provider
from quotas import ledger
from quotas.ledger import Amounts
from quotas.models import Allocation
from usage import exports, recorder
from usage.exports import Selection
from usage.models import UsageRecord

AT_ONCE = 500
_TOLD = "provider"
_OF_THE_HOUSE = (KeySource.SYSTEM.value, ledger.FALLBACK)
_COLUMNS = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens", "model")


@dataclass(slots=True)
class Report:
    """What was done, or would be: calls looked at, those whose cost changed, by how many US dollars, on how many the
    limits' charge changed, and the models of which no price is known still."""

    seen: int = 0
    changed: int = 0
    charged: int = 0
    difference: Decimal = Decimal(0)
    unpriced: set[tuple[str, str]] = field(default_factory=set)


def reprice(wanted: Selection, *, everything: bool, dry_run: bool, now: datetime) -> Report:
    """Price the calls again that have no price, or `everything` whose price is not the provider's own word.

    In transactions of AT_ONCE calls, each with its event in the audit trail. A second run finds nothing to change.
    The hours in which a cost changed are summed up again.
    """
    registry.refresh()
    report = Report()
    records = _eligible(wanted, everything)
    for ids in _batches(records):
        with transaction.atomic():
            _price_again(list(records.select_for_update().filter(pk__in=ids)), report, dry_run=dry_run, now=now)
    return report


def _eligible(wanted: Selection, everything: bool) -> QuerySet[UsageRecord]:
    """Return calls that ended; what a sweep wrote is an estimate, and what was refused cost nothing."""
    done = wanted.records().exclude(status__in=[UsageRecord.Status.REFUSED, UsageRecord.Status.SWEPT])
    return done.exclude(price_version=_TOLD) if everything else done.filter(cost=None)


def _batches(records: QuerySet[UsageRecord]) -> Iterator[list[UUID]]:
    place: exports.Place | None = None
    while True:
        behind = records.order_by("timestamp", "request_id")
        if place:
            behind = exports.behind(behind, place)
        found = list(behind.values_list("timestamp", "request_id")[:AT_ONCE])
        if not found:
            return
        place = exports.Place(*found[-1])
        yield [request_id for _, request_id in found]


def _price_again(records: Sequence[UsageRecord], report: Report, *, dry_run: bool, now: datetime) -> None:
    running = _running(records, now)
    posting, changed, before = ledger.Posting(), [], report.difference
    for record in records:
        report.seen += 1
        price = price_of(record)
        if price.cost is None and record.cost is None:
            report.unpriced.add((record.provider, record.model))
        if price.cost is None or price.cost == record.cost:
            continue
        report.changed += 1
        report.difference += price.cost - (record.cost or 0)
        charge = _charge(record, price.cost, running)
        if charge != record.charged_cost:
            report.charged += 1
            difference = Amounts(0, 0, to_nano(charge) - to_nano(record.charged_cost))
            posting.adjust([UUID(one) for one in record.allocations], difference)
        record.cost, record.price_version, record.charged_cost = price.cost, price.version, charge
        changed.append(record)
    if changed and not dry_run:
        UsageRecord.objects.bulk_update(changed, ["cost", "price_version", "charged_cost"])
        send([*posting.writes(now=now), *recorder.reopen(*(record.timestamp for record in changed))])
        audit.record(Action.USAGE_REPRICED, target="usage", count=len(changed), cost=report.difference - before)


def price_of(record: UsageRecord) -> Price:
    """Return what a call costs by the prices of its day, from what its record keeps of its usage.

    What it costs stays as it is where that cannot be told: of a provider that is gone, of a unit price if the record
    does not say how many units there were, and of batches, whose pieces have a price each.
    """
    unknown = Price(record.cost, record.price_version)
    try:
        provider = registry.get(record.provider)
    except NotFound:
        return unknown
    operation = _operation(provider, record.operation)
    if operation and operation.unit_price is not None and not record.measured:
        return unknown
    if operation and operation.dialect == "anthropic_later":
        return unknown
    usage = counts.restored(record.measured, **{name: getattr(record, name) for name in _COLUMNS})
    return pricing.price(provider.manifest, record.model, usage, operation, at=record.timestamp)


def _operation(provider: Provider, name: str) -> Operation | None:
    return next((one for one in provider.manifest.operations if one.name == name), None)


def _running(records: Iterable[UsageRecord], now: datetime) -> set[UUID]:
    """Return those of the calls' allocations whose period is not over."""
    ids = {UUID(one) for record in records for one in record.allocations}
    return set(Allocation.objects.filter(pk__in=ids, period_end__gt=now).values_list("pk", flat=True))


def _charge(record: UsageRecord, cost: Decimal, running: set[UUID]) -> Decimal:
    """Return what the call's limits are charged from now on."""
    was: Decimal = record.charged_cost
    if not running.intersection(UUID(one) for one in record.allocations):
        return was
    return min(was, cost) if record.key_source in _OF_THE_HOUSE else cost
