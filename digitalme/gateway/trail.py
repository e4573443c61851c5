"""The whole examination of the audit trail: its chain, and the stored keys held against what it tells of them."""

from datetime import datetime

from apikeys import rollback
from digitalme.audit import retention, verification
from digitalme.audit.verification import Verdict


def problems(verdict: Verdict) -> list[str]:
    """Return a sentence for everything that is wrong; of a broken trail only that, since it proves nothing."""
    return rollback.put_back() if verdict.intact else [verdict.problem]


def look_after(*, now: datetime) -> list[str]:
    """Examine the trail and note the outcome; delete what is too old only of one that is whole, so that
    no evidence goes. Returns the problems."""
    found = problems(verification.examine(now=now))
    if found:
        verification.note(" ".join(found), now=now)
    else:
        retention.purge(now=now)
    return found
