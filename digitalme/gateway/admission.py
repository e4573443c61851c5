"""Who calls, with which key, within which limits."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from django.conf import settings

from apikeys.resolution import KeySource, ResolvedKey
from digitalme.accounts.tokens import Identity
from digitalme.database import to_nano
from digitalme.errors import (
    DigitalMeError,
    InvalidRequest,
    KeyNotFound,
    SecurityViolation,
    Unauthenticated,
)
from digitalme.gateway import explanations
from providers import pricing
from providers.manifest import Operation
from providers.metering import Estimate
from providers.registry import Provider
from quotas.ledger import FALLBACK, Amounts, Granted, Hold, Place, Refused
from usage.recorder import Record

NOTHING = Estimate(requests=0, input_tokens=0, output_tokens=0, model="", stream=False)
TOKEN_PROBLEMS = {
    "expired": "This access token has expired. Make a new one under Settings, Security.",
    "revoked": "This access token was revoked. Make a new one under Settings, Security.",
    "disabled": "This account is disabled. Ask the administrator of this server.",
}


class Call(NamedTuple):
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
    critical: bool = False
    # Whether the house's key serves it in place of an own one that failed, and whether it said that it may.
    fallback: bool = False
    may_fall_back: bool = False
    # Not one whose body was handed on while it came in.
    repeatable: bool = True

    @property
    def place(self) -> str:
        """Where the key for it is looked for: at the provider, under the label if it names one."""
        return f"{self.slug}/{self.label}" if self.label else self.slug


@dataclass(frozen=True, slots=True)
class Admitted:
    """A call that may start: its hold is booked. `consent` is what its owner wants to happen if an own key fails."""

    call: Call
    hold: Hold
    granted: Granted
    key: ResolvedKey | None
    consent: str = ""
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def source(self) -> KeySource:
        """Who pays."""
        return self.key.source if self.key else KeySource.SYSTEM


class Holder(NamedTuple):
    """Whose a token is, and its id."""

    user_id: UUID
    token_id: UUID


# What a call would hold, the key that would serve it, and what its owner chose for one that fails; or why it may
# not start.
Checked = tuple[Hold, ResolvedKey | None, str] | DigitalMeError
# Who has no keys: for this user only the house's key is found.
NOBODY = UUID(int=0)


class Owners:
    """Whose each token is, as far as it was looked up before.

    A token never changes hands, so what it opens can be asked for together with whether it still
    opens anything.
    """

    def __init__(self, size: int = 50_000) -> None:
        self._users: dict[str, Holder] = {}
        self._size = size

    def of(self, digests: Collection[str]) -> dict[str, Holder] | None:
        """Return the tokens' holders, or None if one of them is not known."""
        try:
            return {digest: self._users[digest] for digest in digests}
        except KeyError:
            return None

    def known(self, digest: str) -> str:
        """Return a token's user as a text; empty if it was not looked up before."""
        holder = self._users.get(digest)
        return str(holder.user_id) if holder else ""

    def note(self, people: Mapping[str, Identity]) -> dict[str, Holder]:
        """Remember and return what a look-up found."""
        if len(self._users) > self._size:
            self._users.clear()
        found = {digest: Holder(who.user_id, who.token_id) for digest, who in people.items()}
        self._users.update(found)
        return found


def check(
    calls: Sequence[Call], people: Mapping[str, Identity], keys: Mapping[tuple[UUID, str], ResolvedKey]
) -> list[Checked]:
    """Return for each call what it would hold and the key that would serve it, or why it may not start."""
    checked: list[Checked] = []
    for call in calls:
        who = people.get(call.token_digest)
        try:
            key = _key_for(call, who, keys)
            checked.append((_hold(call, who, key), key, who.fallback if who else ""))
        except DigitalMeError as refusal:
            checked.append(refusal)
    return checked


def answer(
    call: Call,
    checked: Checked,
    booked: Iterator[Granted | Refused],
    now: datetime,
) -> Admitted | DigitalMeError:
    """Return what a call is told; of one that passed the check, the ledger's next outcome decides."""
    if isinstance(checked, DigitalMeError):
        return checked
    hold, key, consent = checked
    outcome = next(booked)
    return (
        explanations.of(outcome, now)
        if isinstance(outcome, Refused)
        else Admitted(call, hold, outcome, key, consent, now)
    )


def wanted(calls: Sequence[Call], holders: Mapping[str, Holder]) -> tuple[set[tuple[UUID, str]], set[Place]]:
    """Return the (user, place) for which a key is looked for, and where calls are booked."""
    # Most calls of a crowd are alike, and texts compare faster than ids.
    alike = {
        (call.token_digest, call.place, call.fallback): call for call in calls if call.provider and not call.problem
    }
    asking = [(who, call) for call in alike.values() if (who := holders.get(call.token_digest))]
    needy = {
        (_whose(call, who.user_id), call.place) for who, call in asking if call.provider and call.provider.needs_key
    }
    return needy, {(who.user_id, who.token_id, call.slug) for who, call in asking}


def _whose(call: Call, user_id: UUID) -> UUID:
    return NOBODY if call.fallback else user_id


def _key_for(call: Call, who: Identity | None, keys: Mapping[tuple[UUID, str], ResolvedKey]) -> ResolvedKey | None:
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
    key = keys.get((_whose(call, who.user_id), call.place))
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
            **({} if key.source is KeySource.SYSTEM else {"fallback": who.fallback}),
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
        call.provider.manifest,
        estimate.model,
        estimate.input_tokens,
        estimate.output_tokens,
        call.operation,
        characters=estimate.characters,
        seconds=estimate.seconds,
        units=estimate.units,
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
        key_source=FALLBACK if call.fallback else source.value,
        tag=call.tag,
        critical=call.critical,
        time_zone=who.time_zone,
        estimate=Amounts(
            requests=estimate.requests,
            tokens=estimate.input_tokens + estimate.output_tokens,
            cost=to_nano(ceiling) if ceiling else 0,
        ),
    )


def refusals(
    calls: Sequence[Call], people: Mapping[str, Identity], answers: Sequence[Admitted | DigitalMeError], now: datetime
) -> list[Record]:
    """Return a record of each refusal, where it is known whose call it was."""
    return [
        _refusal(call, who, answer, now)
        for call, answer in zip(calls, answers, strict=True)
        if isinstance(answer, DigitalMeError) and (who := people.get(call.token_digest))
    ]


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
