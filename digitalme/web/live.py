"""What open pages ask every moment: whether anything changed since they were filled."""

import hashlib
from datetime import datetime

from digitalme.accounts.models import User
from digitalme.statements import Statement, ask
from quotas import standing
from usage import pulse


def stamp(user: User, now: datetime) -> str:
    """Return what changes whenever a person's calls or limits do; one small query. Take it before the numbers are
    read: what happens in between is then seen the next time."""
    calls, limits = pulse.pulse(user.pk, now), standing.pulse(user.pk, now)
    both = f"SELECT * FROM ({calls.text}) calls, ({limits.text}) limits"  # noqa: S608 (both are constants)
    ((*facts,),) = ask(Statement(both, [*calls.values, *limits.values], list))
    return hashlib.sha256("|".join(map(str, facts)).encode()).hexdigest()[:16]
