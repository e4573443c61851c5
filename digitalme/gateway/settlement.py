"""What a call came to: its record and its ledger entry, in one transaction for many calls."""

import ipaddress
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from django.db import transaction

from apikeys import resolution
from digitalme.accounts import tokens
from digitalme.database import relaxed, to_nano
from digitalme.gateway.admission import Admitted
from providers import pricing
from providers.metering import Usage
from quotas import ledger
from quotas.ledger import Amounts, Settlement
from usage import recorder
from usage.recorder import Record

log = logging.getLogger(__name__)
TOUCH_SECONDS = 60
SWEEP_BATCH = 500


@dataclass(frozen=True, slots=True)
class Outcome:
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


def settle(outcomes: Sequence[Outcome]) -> list[None]:
    """Replace each call's hold by what it really took and write its record, once, in one transaction.

    Safe to repeat: a call that is settled already is left alone, and one that was swept meanwhile is
    corrected.
    """
    now = datetime.now(UTC)
    records = [_record(outcome, now) for outcome in outcomes]
    # If the database crashes before this reaches the disk, the lease is there again and the sweep settles it.
    with relaxed():
        settled = ledger.settle([Settlement(record.request_id, _charge(record)) for record in records], now=now)
        found = {entry.request_id for entry in settled if entry.found}
        recorder.record([record for record in records if record.request_id in found])
    _touch(outcomes, now)
    late = [record for record in records if record.request_id not in found]
    if late:
        _correct(late)
    return [None] * len(outcomes)


def sweep(*, now: datetime, limit: int = SWEEP_BATCH) -> int:
    """Settle at their estimates the calls whose leases ran out; return how many there were.

    A lease runs out when the process that renewed it was killed or frozen.
    """
    with transaction.atomic():
        expired = ledger.expired(now=now, limit=limit)
        if expired:
            ledger.settle([Settlement(lease.request_id, lease.reserved) for lease in expired], now=now)
            recorder.record([_swept(lease) for lease in expired])
    return len(expired)


def _charge(record: Record) -> Amounts:
    return Amounts(record.charged_requests, record.charged_tokens, record.charged_cost)


def _record(outcome: Outcome, now: datetime) -> Record:
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


@transaction.atomic
def _correct(late: Sequence[Record]) -> None:
    """Correct swept records, in a transaction of its own, since it locks allocations anew.

    A process that was only frozen comes back: put its calls' real figures in the place of the swept
    ones. A record that is not a swept one is final."""
    swept = recorder.swept([record.request_id for record in late])
    corrections = []
    for record in late:
        facts = swept.get(record.request_id)
        if facts is None:
            continue
        recorder.correct(replace(record, allocations=facts.allocation_ids))
        charge = _charge(record)
        corrections.append(
            (
                facts.allocation_ids,
                Amounts(
                    charge.requests - facts.charged_requests,
                    charge.tokens - facts.charged_tokens,
                    charge.cost - facts.charged_cost,
                ),
            )
        )
    if corrections:
        ledger.adjust(corrections)


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


class _LastUse:
    """When each token and key was last written as used: once a minute says enough."""

    def __init__(self) -> None:
        self._written: dict[UUID, float] = {}

    def due(self, ids: Iterable[UUID | None]) -> set[UUID]:
        """Return those ids whose mark is older than TOUCH_SECONDS."""
        now = time.monotonic()
        due = {one for one in ids if one and now - self._written.get(one, -TOUCH_SECONDS) >= TOUCH_SECONDS}
        if len(self._written) > 10_000:
            self._written.clear()
        self._written.update(dict.fromkeys(due, now))
        return due


_last_use = _LastUse()


def _touch(outcomes: Sequence[Outcome], now: datetime) -> None:
    used_tokens = _last_use.due(outcome.admitted.hold.token_id for outcome in outcomes)
    by_key = {outcome.admitted.hold.credential_id: outcome.admitted for outcome in outcomes}
    used_keys = _last_use.due(by_key)
    if used_tokens:
        tokens.touch(used_tokens, now=now)
    if used_keys:
        resolution.touch({one: _use(by_key[one]) for one in used_keys}, now=now)


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
