"""A ledger's caller: one transaction for each step, as the gateway does it."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest
from django.db import transaction

from digitalme.accounts.models import User
from digitalme.database import uuid7
from digitalme.statements import Last, Steps, ask, carry_out, send
from quotas import known, ledger
from quotas.ledger import Amounts, Granted, Hold, LeaseFacts, Refused, Settled, Settlement
from quotas.models import Allocation, Limit

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _nothing_known() -> Iterator[None]:
    known.forget()
    yield
    known.forget()


def hold(user: User, **more: object) -> Hold:
    """Return the hold of an ordinary call."""
    facts: dict[str, object] = {
        "request_id": uuid7(),
        "user_id": user.id,
        "provider": "openai",
        "operation": "chat",
        "model": "gpt-4o-mini",
        "key_source": "system",
        "estimate": Amounts(1, 100, 5_000),
        "time_zone": user.time_zone,
    }
    return Hold(**{**facts, **more})  # type: ignore[arg-type]


def reserve(holds: Sequence[Hold], now: datetime = NOW) -> list[Granted | Refused]:
    """Reserve as admission does: periods are made where they are missing, then it is tried again."""
    for attempt in (1, 2, 3):
        try:
            return reserve_once(holds, now)
        except ledger.MissingPeriods as missing:
            assert attempt < 3
            ledger.ensure_periods(missing.wanted, now=now)
    raise AssertionError


def reserve_once(holds: Sequence[Hold], now: datetime = NOW) -> list[Granted | Refused]:
    """Reserve without making what is missing."""
    with transaction.atomic():
        return carry_out(reserving(holds, now))


def reserving(holds: Sequence[Hold], now: datetime = NOW) -> Steps[list[Granted | Refused]]:
    """The steps of a transaction that reserves."""
    (posting,) = yield [ledger.lock({(one.user_id, one.token_id, one.provider) for one in holds}, now=now)]
    outcomes: list[Granted | Refused] = yield from posting.reserve(holds, now=now)
    yield Last(posting.writes(now=now))
    return outcomes


def granted(holds: Sequence[Hold], now: datetime = NOW) -> list[bool]:
    """Reserve and tell which were let through."""
    return [isinstance(outcome, Granted) for outcome in reserve(holds, now)]


def settle_all(settlements: Sequence[Settlement], now: datetime = NOW) -> list[Settled]:
    """Settle several calls in one transaction."""
    with transaction.atomic():
        ended = ask(ledger.end([one.request_id for one in settlements]))
        posting = ledger.Posting()
        settled = posting.settle(settlements, ended)
        send(posting.writes(now=now))
    return settled


def settle(request_id: UUID, actual: Amounts, now: datetime = NOW) -> Settled:
    """Settle one call."""
    return settle_all([Settlement(request_id, actual)], now)[0]


def sweep(now: datetime = NOW) -> list[LeaseFacts]:
    """Settle expired leases at their estimates and return them."""
    with transaction.atomic():
        expired = ask(ledger.expired(now=now))
        settle_all([Settlement(one.request_id, one.reserved) for one in expired], now)
    return expired


def at_full_speed() -> None:
    """Let no limit slow a call before it refuses it."""
    Limit.objects.update(pace_from=100)
    Allocation.objects.update(pace_from=100)


@pytest.fixture
def make_user(db: None) -> Callable[..., User]:
    return lambda email="dana@example.com", **more: User.objects.create_user(email, **more)


@pytest.fixture
def dana(make_user: Callable[..., User]) -> User:
    return make_user()
