"""Who calls, with which key, within which limits: many calls admitted in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from django.conf import settings
from django.db import transaction

from apikeys import resolution
from apikeys.resolution import KeySource, ResolvedKey
from digitalme.accounts import tokens
from digitalme.accounts.tokens import Identity
from digitalme.database import to_nano
from digitalme.errors import (
    DigitalMeError,
    InvalidRequest,
    KeyNotFound,
    QuotaExceeded,
    SecurityViolation,
    Unauthenticated,
)
from providers import pricing
from providers.manifest import Operation
from providers.metering import Estimate
from providers.registry import Provider
from quotas import ledger
from quotas.ledger import Amounts, Granted, Hold, Refused
from usage import recorder
from usage.recorder import Record

NOTHING = Estimate(requests=0, input_tokens=0, output_tokens=0, model="", stream=False)
TOKEN_PROBLEMS = {
    "expired": "This access token has expired. Make a new one under Settings, Security.",
    "revoked": "This access token was revoked. Make a new one under Settings, Security.",
    "disabled": "This account is disabled. Ask the administrator of this server.",
}


@dataclass(frozen=True, slots=True)
class Call:
    """What a caller asks for, as far as it is known before anything was looked up.

    `problem` is what makes the call impossible whoever asks: it is refused, but still recorded if
    the token tells whose call it was.
    """

    request_id: UUID
    token_digest: str
    slug: str
    provider: Provider | None = None
    operation: Operation | None = None
    estimate: Estimate = NOTHING
    tag: str = ""
    problem: DigitalMeError | None = None
    label: str = ""
    address: str = ""

    @property
    def place(self) -> str:
        """Where the key for it is looked for: at the provider, under the label if it names one."""
        return f"{self.slug}/{self.label}" if self.label else self.slug


@dataclass(frozen=True, slots=True)
class Admitted:
    """A call that may start: its hold is booked."""

    call: Call
    hold: Hold
    granted: Granted
    key: ResolvedKey | None
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def source(self) -> KeySource:
        """Who pays."""
        return self.key.source if self.key else KeySource.SYSTEM


def admit(calls: Sequence[Call]) -> list[Admitted | DigitalMeError]:
    """Admit or refuse each call, all in one transaction; refusals are answered, not raised.

    A period's row comes into being at the first call in it, outside of this transaction, so that no
    two processes wait for one another while they hold locks.
    """
    now = datetime.now(UTC)
    try:
        return _admit(calls, now)
    except ledger.MissingPeriods as missing:
        ledger.ensure_periods(missing.wanted, now=now)
        return _admit(calls, now)


def _admit(calls: Sequence[Call], now: datetime) -> list[Admitted | DigitalMeError]:
    with transaction.atomic():
        people = tokens.identify({call.token_digest for call in calls}, now=now)
        keys = resolution.resolve(_wanted(calls, people))
        answers: list[Admitted | DigitalMeError | None] = [None] * len(calls)
        holds: list[Hold] = []
        places: list[tuple[int, ResolvedKey | None]] = []
        for place, call in enumerate(calls):
            who = people.get(call.token_digest)
            try:
                key = _key_for(call, who, keys)
                hold = _hold(call, who, key)
            except DigitalMeError as refusal:
                answers[place] = refusal
                continue
            holds.append(hold)
            places.append((place, key))
        for (place, key), hold, outcome in zip(places, holds, ledger.reserve(holds, now=now), strict=True):
            if isinstance(outcome, Refused):
                answers[place] = _over_the_limit(outcome, now)
            else:
                answers[place] = Admitted(calls[place], hold, outcome, key, now)
        settled = [answer for answer in answers if answer is not None]
        _record_refusals(calls, people, settled, now)
        return settled


def _wanted(calls: Sequence[Call], people: dict[str, Identity]) -> set[tuple[UUID, str]]:
    return {
        (who.user_id, call.place)
        for call in calls
        if call.provider and call.provider.needs_key and not call.problem and (who := people.get(call.token_digest))
    }


def _key_for(call: Call, who: Identity | None, keys: dict[tuple[UUID, str], ResolvedKey]) -> ResolvedKey | None:
    """Return the key that serves the call, None where the provider needs none; raise why it cannot be served."""
    if who is None:
        raise Unauthenticated("This access token is unknown. Use one made under Settings, Security.")
    if who.state != "active":
        raise Unauthenticated(TOKEN_PROBLEMS[who.state])
    if "gateway" not in who.scopes:
        raise SecurityViolation("This access token may not call the gateway. Make one with the scope 'gateway'.")
    if call.problem or call.provider is None or call.operation is None:
        raise call.problem or InvalidRequest("This call names no provider.")
    if not call.provider.needs_key:
        return None
    key = keys.get((who.user_id, call.place))
    if key is None:
        named = f" with the label '{call.label}'" if call.label else ""
        raise KeyNotFound(
            f"There is no usable {call.provider.name} key{named}. Add your own at {settings.SITE_URL}/settings/api/."
        )
    if key.expired_at is not None:
        whose = {KeySource.USER: "Your", KeySource.TEAM: "Your team's", KeySource.SYSTEM: "The house's"}[key.source]
        raise KeyNotFound(
            f"{whose} {call.provider.name} key expired on {key.expired_at:%Y-%m-%d}. Replace it, or change its "
            f"expiry, at {settings.SITE_URL}/settings/api/.",
            reason="expired",
        )
    if key.source is KeySource.SYSTEM and not call.operation.system:
        raise KeyNotFound(
            f"The demo key does not serve this operation. Add your own {call.provider.name} key at "
            f"{settings.SITE_URL}/settings/api/."
        )
    return key


def _hold(call: Call, who: Identity | None, key: ResolvedKey | None) -> Hold:
    if who is None or call.provider is None or call.operation is None:
        raise InvalidRequest("This call cannot be held.")
    estimate, source = call.estimate, key.source if key else KeySource.SYSTEM
    ceiling = pricing.ceiling(
        call.provider.manifest, estimate.model, estimate.input_tokens, estimate.output_tokens, call.operation
    )
    if ceiling is None and source is KeySource.SYSTEM:
        raise InvalidRequest(
            f"The model '{estimate.model[:64]}' has no known price, so the demo key cannot pay for it. "
            "Choose another model or add your own key."
        )
    return Hold(
        request_id=call.request_id,
        user_id=who.user_id,
        token_id=who.token_id,
        team_id=key.team_id if key else None,
        credential_id=key.credential_id if key else None,
        provider=call.slug,
        operation=call.operation.name,
        model=estimate.model,
        key_source=source.value,
        tag=call.tag,
        time_zone=who.time_zone,
        estimate=Amounts(
            requests=estimate.requests,
            tokens=estimate.input_tokens + estimate.output_tokens,
            cost=to_nano(ceiling) if ceiling else 0,
        ),
    )


def _over_the_limit(refused: Refused, now: datetime) -> QuotaExceeded:
    """Explain a refusal: which limit, how much of it is used and held, when it resets, what to do."""
    limit = refused.standing
    wait = max(1, int((limit.resets_at - now).total_seconds()))
    where = limit.provider or "all providers"
    return QuotaExceeded(
        f"The {limit.type} limit on {limit.dimension} for {where} is used up: {limit.used} of {limit.allowed}"
        f" ({refused.held} of them held by running calls). It resets at {limit.resets_at:%Y-%m-%d %H:%M} UTC. "
        f"{refused.advice}",
        limit_type=limit.type,
        provider=limit.provider,
        dimension=limit.dimension,
        allowed=limit.allowed,
        used=limit.used,
        held=refused.held,
        resets_at=limit.resets_at.isoformat(),
        retry_after=wait,
    )


def _record_refusals(
    calls: Sequence[Call],
    people: dict[str, Identity],
    answers: Sequence[Admitted | DigitalMeError],
    now: datetime,
) -> None:
    """Keep a record of each refusal, where it is known whose call it was."""
    records = [
        _refusal(call, who, answer, now)
        for call, answer in zip(calls, answers, strict=True)
        if isinstance(answer, DigitalMeError) and (who := people.get(call.token_digest))
    ]
    if records:
        recorder.record(records)


def _refusal(call: Call, who: Identity, error: DigitalMeError, now: datetime) -> Record:
    return Record(
        request_id=call.request_id,
        user_id=who.user_id,
        token_id=who.token_id,
        provider=call.slug,
        operation=call.operation.name if call.operation else "",
        model=call.estimate.model,
        status="refused",
        error_type=error.code.value,
        http_status=error.status,
        tag=call.tag,
        timestamp=now,
        cost=0,
    )
