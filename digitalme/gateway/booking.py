"""The gateway's one transaction: calls that ended are settled and others admitted, many at once."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from apikeys import resolution
from digitalme.accounts import tokens
from digitalme.errors import DigitalMeError
from digitalme.gateway import admission, settlement
from digitalme.gateway.admission import Admitted, Call, Owners
from digitalme.gateway.settlement import Outcome
from digitalme.statements import Last, Statement, Steps
from quotas import ledger
from quotas.ledger import Settlement
from usage import bills, recorder
from usage.recorder import Record

Answers = list[Admitted | DigitalMeError]


def book(
    calls: Sequence[Call], outcomes: Sequence[Outcome], owners: Owners, *, now: datetime
) -> Steps[tuple[Answers, list[Record]]]:
    """Settle the outcomes, then admit or refuse each call; refusals are answered, not raised.

    Settlements come first: they give back what the calls may need. Returns, beside the answers, the
    records of calls whose lease was gone: settled before, which is left alone, or swept, which
    `settlement.correct` puts right. Raises ledger.MissingPeriods, with nothing booked, if a limit's row
    for this period is not there yet. Safe to repeat.
    """
    digests = {call.token_digest for call in calls}
    if (holders := owners.of(digests)) is None:
        (people,) = yield [tokens.identify(digests, now=now)]
        holders = owners.note(people)
    wanted, places = admission.wanted(calls, holders)
    records = [settlement.record_of(outcome) for outcome in outcomes]
    asked: list[Statement[Any]] = [tokens.identify(digests, now=now), resolution.resolve(wanted)] if calls else []
    ended, posting, *found = yield [
        ledger.end([record.request_id for record in records]),
        ledger.lock(places, beside={one for record in records for one in record.allocations}, now=now),
        *asked,
    ]
    people, keys = found or ({}, {})
    settled = posting.settle([Settlement(one.request_id, settlement.charge(one)) for one in records], ended)
    checked = admission.check(calls, people, keys)
    holds = [one[0] for one in checked if not isinstance(one, DigitalMeError)]
    booked = iter((yield from posting.reserve(holds, now=now)))
    answers = [admission.answer(call, one, booked, now) for call, one in zip(calls, checked, strict=True)]
    there = [record for record, entry in zip(records, settled, strict=True) if entry.found]
    refused = admission.refusals(calls, people, answers, now)
    named = [one for outcome in outcomes if outcome.reference and (one := outcome.open_bill)]
    written = [*recorder.record([*there, *refused], now=now), *bills.note(named, now=now)]
    yield Last([*posting.writes(now=now), *written])
    return answers, [record for record, entry in zip(records, settled, strict=True) if not entry.found]
