"""Change what a tier allows. It holds at once for everybody on the tier."""

import copy
import logging
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction

from digitalme.accounts.models import User
from digitalme.audit.actions import Action
from quotas import limits, policy
from quotas.models import Binds, Limit, Tier

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a limit says. Empty amounts are unlimited; cost is in US dollars."""

    binds: str = Binds.SYSTEM
    requests: int | None = None
    tokens: int | None = None
    cost: Decimal | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what JSON can keep; `from_json` reads it."""
        return {**asdict(self), "cost": None if self.cost is None else str(self.cost)}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Terms":
        """Return what `as_json` wrote."""
        return cls(**{**kept, "cost": None if kept["cost"] is None else Decimal(kept["cost"])})


def lock_default() -> Tier:
    """Return the default tier, locked until the end of the transaction; it is made where there is none."""
    policy.ensure_default_tier()
    return Tier.objects.select_for_update().get(is_default=True)


def terms(tier: Tier, type: str, provider: str) -> Terms | None:
    """Return the tier's limit of exactly this type and provider ('' for all, * for each)."""
    limit = tier.limits.filter(type=type, provider=provider).first()
    return Terms(limit.binds, limit.requests, limit.tokens, limit.cost) if limit else None


def effective(tier: Tier, type: str, provider: str) -> Terms | None:
    """Return what the tier holds of this type for the provider: its own limit, else the one for each."""
    spec = policy.spec_of(tier.limits.all(), type, provider)
    return Terms(spec.binds, spec.requests, spec.tokens, spec.cost) if spec else None


@transaction.atomic
def set_limit(
    *, actor: User | None, tier: Tier, type: str, provider: str, terms: Terms | None, now: datetime
) -> Limit | None:
    """Give the tier this limit in place of the one of this type and provider, or none at all.

    What is used already stays used. `actor` is None on the command line. Raises InvalidRequest for a
    type, an amount or a provider that there cannot be.
    """
    if terms is None:
        gone = tier.limits.filter(type=type, provider=provider).first()
        limit, kept = None, copy.copy(gone)
        if gone:
            gone.delete()
    else:
        limits.check(provider, type, terms.binds, terms.requests, terms.tokens, terms.cost)
        values = {name: getattr(terms, name) for name in ("binds", "requests", "tokens", "cost")}
        limit, _ = Limit.objects.update_or_create(tier=tier, type=type, provider=provider, defaults=values)
        kept = limit
    log.info(
        "limit %s tier=%s type=%s provider=%s by=%s",
        "set" if limit else "removed",
        tier.slug,
        type,
        provider,
        actor.pk if actor else "command",
    )
    limits.hold_at_once(policy.users_of(tier), now=now)
    if kept:
        limits.record(Action.LIMIT_SET if limit else Action.LIMIT_REMOVED, kept, actor=actor)
    return limit
