"""What open pages ask every moment: whether anything changed since they were filled."""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from digitalme.accounts.models import User
from digitalme.forecasts import reading
from digitalme.forecasts.models import Forecast
from digitalme.statements import Statement, ask
from quotas import standing
from usage import pulse


def stamp(user: User, now: datetime) -> str:
    """Return what changes whenever a person's calls or limits do; one small query. Take it before the numbers are
    read: what happens in between is then seen the next time."""
    ((*facts,),) = ask(_both(user, now))
    return _hashed(facts)


def opened(user: User, now: datetime) -> tuple[str, list[Forecast]]:
    """Return the stamp, and what is foreseen of the person's periods: one query as well."""
    both, foreseen = _both(user, now), reading.of_owner(user.pk)
    text = f"{both.text} LEFT JOIN ({foreseen.text}) foreseen ON 1 = 1"
    rows = ask(Statement(text, [*both.values, *foreseen.values], list))
    stamp = _hashed(rows[0][: -reading.WIDTH])
    return stamp, reading.from_rows([row[-reading.WIDTH :] for row in rows], now=now)


def _both(user: User, now: datetime) -> Statement[Any]:
    calls, limits = pulse.pulse(user.pk, now), standing.pulse(user.pk, now)
    text = f"SELECT * FROM ({calls.text}) calls, ({limits.text}) limits"  # noqa: S608 (both are constants)
    return Statement(text, [*calls.values, *limits.values], list)


def _hashed(facts: Iterable[Any]) -> str:
    return hashlib.sha256("|".join(map(str, facts)).encode()).hexdigest()[:16]
