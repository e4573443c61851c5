"""Why a limit refuses a call: which, whose, how it stands, when it starts anew, and what can be done."""

import math
from datetime import datetime
from typing import Any

from django.conf import settings

from digitalme.database import from_nano
from digitalme.errors import QuotaExceeded, RateLimited
from providers import registry
from quotas import owners
from quotas.ledger import Refused, Standing

# Running calls mostly end within seconds; then what they hold beyond their need comes back.
HELD_SECONDS = 5
_WHOSE = {
    owners.USER: "Your",
    owners.TOKEN: "This access token's",
    owners.TEAM: "Your team's",
    owners.MEMBER: "Your team's",
    owners.OF_HOUSE: "This server's",
}
_LABELS = {
    "fair_use": "fair use limit",
    "daily_budget": "daily budget",
    "monthly_budget": "monthly budget",
    "fallback": "limit on the demo key in place of your own",
}
_WAIT = "wait"


def of(refused: Refused, now: datetime) -> QuotaExceeded | RateLimited:
    """Return the refusal to answer with. What is only held or used too fast is no limit that is used up."""
    limit = refused.standing
    kind = _LABELS.get(limit.type, f"{limit.type} limit")
    name = f"{_WHOSE[refused.scope]} {kind} on {_dimension(limit)} {_where(limit)}"
    used, held, allowed = (_amount(limit, value) for value in (limit.used, refused.held, limit.allowed))
    if refused.wait is not None:
        seconds = max(1, math.ceil(refused.wait))
        return RateLimited(
            f"{name} is nearly used up ({used} of {allowed}), so calls are slowed for the rest to last until "
            f"{_moment(limit.resets_at)}. Try again in {seconds} s. {_advice(refused)}",
            **_facts(refused, "slowed", seconds),
        )
    if refused.passing:
        return RateLimited(
            f"{name} has room, but running calls hold it for now: {used} of {allowed}, of which {held} are held. "
            f"Try again in {HELD_SECONDS} s, when some of them have ended; a smaller output limit holds less.",
            **_facts(refused, "held", HELD_SECONDS),
        )
    seconds = max(1, math.ceil((limit.resets_at - now).total_seconds()))
    return QuotaExceeded(
        f"{name} is used up: {used} of {allowed} ({held} held by running calls). "
        f"It starts anew at {_moment(limit.resets_at)}. {_advice(refused)}",
        **_facts(refused, "used_up", seconds),
    )


def _facts(refused: Refused, reason: str, seconds: int) -> dict[str, Any]:
    """Return the same facts for programs. Amounts of money are US dollars as text."""
    limit = refused.standing
    remedy, link = _remedy(refused)
    return {
        "reason": reason,
        "limit_type": limit.type,
        "scope": refused.scope,
        "provider": limit.provider,
        "dimension": limit.dimension,
        "allowed": _plain(limit, limit.allowed),
        "used": _plain(limit, limit.used),
        "held": _plain(limit, refused.held),
        "remaining": _plain(limit, limit.remaining),
        "resets_at": limit.resets_at.isoformat(),
        "retry_after": seconds,
        "remedy": remedy if reason != "held" else _WAIT,
        "link": link,
    }


def _remedy(refused: Refused) -> tuple[str, str]:
    """Return what helps at once, as a word, and where it is done."""
    usage = f"{settings.SITE_URL}/settings/usage/"
    if refused.scope in (owners.TEAM, owners.MEMBER) and refused.standing.type.endswith("_budget"):
        return "raise_budget", f"{settings.SITE_URL}/settings/team/"
    if refused.scope == owners.TOKEN or refused.standing.type.endswith("_budget"):
        return "raise_budget", f"{usage}budgets/"
    if refused.standing.type == "fallback":
        return "raise_fallback", f"{settings.SITE_URL}/settings/preferences/#fallback"
    return (
        ("ask_for_more", f"{usage}limits/#more")
        if refused.own_key
        else ("add_own_key", f"{settings.SITE_URL}/settings/api/")
    )


def _advice(refused: Refused) -> str:
    remedy, link = _remedy(refused)
    if remedy == "raise_budget":
        who = "whoever looks after the team" if refused.scope in (owners.TEAM, owners.MEMBER) else "you"
        return f"Wait until then, or let {who} change it at {link}."
    if remedy == "raise_fallback":
        return f"Wait until then, mend your own key, or agree to more at {link}."
    if remedy == "ask_for_more":
        return f"Wait until then, or ask for more at {link}."
    more = f"{settings.SITE_URL}/settings/usage/limits/#more"
    return f"Wait until then, add your own key at {link} to go on at once, or ask for more at {more}."


def _where(limit: Standing) -> str:
    if not limit.provider:
        return "for all providers"
    names = {one.slug: one.name for one in registry.all_providers()}
    return f"for {names.get(limit.provider, limit.provider)}"


def _dimension(limit: Standing) -> str:
    return "spending" if limit.dimension == "cost" else limit.dimension


def _plain(limit: Standing, value: int) -> int | str:
    return str(from_nano(value)) if limit.dimension == "cost" else value


def _amount(limit: Standing, value: int) -> str:
    return f"${from_nano(value).normalize():f}" if limit.dimension == "cost" else f"{value:,}"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
