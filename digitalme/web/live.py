"""What open pages ask every moment: whether anything changed since they were filled."""

import hashlib
from datetime import datetime

from digitalme.accounts.models import User
from quotas import standing
from usage import pulse


def stamp(user: User, now: datetime) -> str:
    """Return what changes whenever a person's calls or limits do; two small queries. Take it before the numbers are
    read: what happens in between is then seen the next time."""
    facts = pulse.pulse(user.pk, now) + standing.pulse(user.pk, now)
    return hashlib.sha256("|".join(facts).encode()).hexdigest()[:16]
