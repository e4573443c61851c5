"""What a call came to: its record, its price, and what to do where nobody settled it."""

import ipaddress
import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import transaction

from apikeys import resolution
from digitalme.accounts import tokens
from digitalme.database import to_nano
from digitalme.gateway.admission import Admitted
from digitalme.statements import Last, Steps, carry_out
from providers import counts, pricing
from providers.counts import Bill, Usage
from quotas import ledger
from quotas.ledger import Amounts, Settlement
from usage import bills, recorder
from usage.recorder import Record

log = logging.getLogger(__name__)
TOUCH_SECONDS = 60
SWEEP_BATCH = 500


class Outcome(NamedTuple):
    """How an admitted call ended. `usage` is None if nothing was consumed; `reached` is False if the
    call never got to the provider."""

    admitted: Admitted
    status: str
    reached: bool = True
    usage: Usage | None = None
    http_status: int | None = None
    error_type: str = ""
    response_ms: int | None = None
    first_byte_ms: int | None = None
    reference: str = ""
    bill: Bill | None = None

    @property
    def open_bill(self) -> bills.Open | None:
        """What the call is called in a later answer that tells what it took; None if none will."""
        hold = self.admitted.hold
        if not self.reference or hold.credential_id is None:
            return None
        return bills.Open(hold.credential_id, self.reference, hold.request_id)


def settle_bill(outcome: Outcome, *, now: datetime) -> Steps[None]:
    """Put what an answer tells of an earlier call in that call's record and on its limits: once, however often it is
    told."""
    call, bill, credential = outcome.admitted.call, outcome.bill, outcome.admitted.hold.credential_id
    if bill is None or credential is None or call.provider is None:
        return
    (request_id,) = yield [bills.take(credential, bill.reference)]
    if request_id is None:
        return
    (found,) = yield [recorder.charged(request_id)]
    if found is None:
        return
    price = pricing.Price(bill.usage.cost, bill.version)
    if not bill.version:
        price = pricing.price(call.provider.manifest, bill.usage.model or found.model, bill.usage)
    cost = None if price.cost is None else to_nano(price.cost)
    posting = ledger.Posting()
    taken = Amounts(found.charged_requests, bill.usage.total, cost or 0)
    posting.adjust(
        found.allocation_ids, taken - Amounts(found.charged_requests, found.charged_tokens, found.charged_cost)
    )
    written = recorder.rewrite(
        request_id,
        found.timestamp,
        model=(bill.usage.model or found.model)[:128],
        input_tokens=bill.usage.input_tokens,
        output_tokens=bill.usage.output_tokens,
        cached_tokens=bill.usage.cached_tokens,
        cache_write_tokens=bill.usage.cache_write_tokens,
        reasoning_tokens=bill.usage.reasoning_tokens,
        measured=counts.measured(bill.usage),
        cost=cost,
        price_version=price.version,
        counted_by=bill.usage.counted_by,
        charged_tokens=taken.tokens,
        charged_cost=taken.cost,
    )
    yield Last([*posting.writes(now=now), *written])


def correct(late: Sequence[Record], *, now: datetime) -> Steps[None]:
    """Put the real figures of calls in the place of swept records.

    Their process was only frozen, not dead. A record that is not a swept one is final.
    """
    (swept,) = yield [recorder.swept([record.request_id for record in late])]
    posting, writes = ledger.Posting(), []
    for record in late:
        facts = swept.get(record.request_id)
        if facts is None:
            continue
        charged = Amounts(facts.charged_requests, facts.charged_tokens, facts.charged_cost)
        posting.adjust(facts.allocation_ids, charge(record) - charged)
        writes += recorder.correct(record._replace(allocations=facts.allocation_ids))
    yield Last([*posting.writes(now=now), *writes])


def sweep(*, now: datetime, limit: int = SWEEP_BATCH) -> int:
    """Settle at their estimates the calls whose leases ran out; return how many there were.

    A lease runs out when the process that renewed it was killed or frozen.
    """
    with transaction.atomic():
        return carry_out(_sweep(now, limit))


def _sweep(now: datetime, limit: int) -> Steps[int]:
    (expired,) = yield [ledger.expired(now=now, limit=limit)]
    if expired:
        (ended,) = yield [ledger.end([lease.request_id for lease in expired])]
        posting = ledger.Posting()
        posting.settle([Settlement(lease.request_id, lease.reserved) for lease in expired], ended)
        yield Last([*posting.writes(now=now), *recorder.record([_swept(lease) for lease in expired], now=now)])
    return len(expired)


def charge(record: Record) -> Amounts:
    """Return what a record takes from its allocations."""
    return Amounts(record.charged_requests, record.charged_tokens, record.charged_cost)


def record_of(outcome: Outcome) -> Record:
    """Price an outcome. A call that reached the provider counts as a request, whatever became of it."""
    admitted, usage = outcome.admitted, outcome.usage or Usage(0, 0)
    call, hold = admitted.call, admitted.hold
    if call.provider is None:
        raise ValueError("An admitted call has a provider.")
    model = usage.model or hold.model
    price = pricing.price(call.provider.manifest, model, usage, call.operation) if outcome.usage else pricing.FREE
    cost = None if price.cost is None else to_nano(price.cost)
    return Record(
        request_id=hold.request_id,
        user_id=hold.user_id,
        team_id=hold.team_id,
        token_id=hold.token_id,
        credential_id=hold.credential_id,
        key_source=hold.key_source,
        provider=hold.provider,
        operation=hold.operation,
        model=model[:128],
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        measured=counts.measured(usage),
        cost=cost,
        price_version=price.version,
        counted_by=usage.counted_by,
        status=outcome.status,
        error_type=outcome.error_type,
        http_status=outcome.http_status,
        response_ms=outcome.response_ms,
        first_byte_ms=outcome.first_byte_ms,
        tag=hold.tag,
        timestamp=admitted.started_at,
        allocations=admitted.granted.allocation_ids,
        charged_requests=hold.estimate.requests if outcome.reached else 0,
        charged_tokens=usage.total,
        charged_cost=cost or 0,
    )


def _swept(lease: ledger.LeaseFacts) -> Record:
    return Record(
        request_id=lease.request_id,
        user_id=lease.user_id,
        team_id=lease.team_id,
        token_id=lease.token_id,
        credential_id=lease.credential_id,
        key_source=lease.key_source,
        provider=lease.provider,
        operation=lease.operation,
        model=lease.model,
        input_tokens=lease.reserved.tokens,
        cost=lease.reserved.cost,
        counted_by="estimated",
        status="swept",
        error_type="lost",
        tag=lease.tag,
        timestamp=lease.created_at,
        allocations=lease.allocation_ids,
        charged_requests=lease.reserved.requests,
        charged_tokens=lease.reserved.tokens,
        charged_cost=lease.reserved.cost,
    )


class LastUse:
    """When each token and key was last written as used: once a minute says enough."""

    def __init__(self) -> None:
        self._written: dict[UUID, float] = {}

    def due(self, outcomes: Sequence[Outcome]) -> tuple[set[UUID], dict[UUID, Admitted]]:
        """Return those of the outcomes' tokens and credentials whose mark is older than TOUCH_SECONDS, the
        latter with the call that used them."""
        if len(self._written) > 10_000:
            self._written.clear()
        by_key = {one.admitted.hold.credential_id: one.admitted for one in outcomes}
        due_keys = self._due(by_key)
        return self._due(one.admitted.hold.token_id for one in outcomes), {one: by_key[one] for one in due_keys}

    def _due(self, ids: Iterable[UUID | None]) -> set[UUID]:
        now = time.monotonic()
        due = {one for one in ids if one and now - self._written.get(one, -TOUCH_SECONDS) >= TOUCH_SECONDS}
        self._written.update(dict.fromkeys(due, now))
        return due


def touch(used_tokens: Collection[UUID], used_keys: Mapping[UUID, Admitted], now: datetime) -> None:
    """Note that these tokens and credentials were used, and by which call."""
    if used_tokens:
        tokens.touch(used_tokens, now=now)
    if used_keys:
        resolution.touch({one: _use(admitted) for one, admitted in used_keys.items()}, now=now)


def _use(admitted: Admitted) -> dict[str, str]:
    """Return what a key was used for, with what of whose, and from which network."""
    hold = admitted.hold
    return {
        "operation": hold.operation,
        "model": hold.model[:128],
        "token": str(hold.token_id or ""),
        "network": network_of(admitted.call.address),
    }


def network_of(address: str) -> str:
    """Return the network that an address lies in, /24 or /48: enough to recognise one's own."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return ""
    return str(ipaddress.ip_network((ip, 24 if ip.version == 4 else 48), strict=False))
