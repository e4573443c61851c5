"""What happens when a key of one's own fails: nothing, unless its owner agreed that the house's steps in."""

from collections.abc import Mapping

from apikeys.resolution import KeySource
from apikeys.vault import CredentialUnreadable
from digitalme.accounts.models import User
from digitalme.database import uuid7
from digitalme.errors import DigitalMeError, KeyNotFound
from digitalme.gateway.admission import Admitted, Call

HEADER = b"x-digitalme-fallback"
ASK, DEMO = User.Fallback.ASK.value, User.Fallback.DEMO.value
# Words of the answer's header: the house's key served the call, or would if the call asked for it.
USED, POSSIBLE = b"used", b"ask"
# Why a key of one's own may fail: its time is over, the provider ended a consent, or refused the key.
REASONS = frozenset({"expired", "consent", "refused"})


def asked_for(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a call says by itself that the house's key may serve it if its own fails."""
    return headers.get(HEADER, b"").strip().lower() == DEMO.encode()


def possible(call: Call) -> bool:
    """Whether the call could be made anew on the house's key at all."""
    return call.repeatable and not call.fallback and call.operation is not None and call.operation.system


def instead(call: Call, problem: DigitalMeError, admitted: Admitted | None = None) -> Call | None:
    """Return the call to be made on the house's key in place of one that failed for this reason; None if its owner
    did not agree to that, or the reason is another."""
    choice = admitted.consent if admitted else str(problem.data.get("fallback", ""))
    own = admitted.source is not KeySource.SYSTEM if admitted else bool(choice)
    if not own or not _key_failed(problem) or not possible(call):
        return None
    if choice == DEMO or (choice == ASK and call.may_fall_back):
        return call._replace(request_id=uuid7(), fallback=True)
    return None


def told(call: Call, problem: DigitalMeError, admitted: Admitted | None = None) -> list[tuple[bytes, bytes]]:
    """Return the header that tells a program that it may ask for the house's key, where that is so."""
    choice = admitted.consent if admitted else str(problem.data.get("fallback", ""))
    asks = choice == ASK and not call.may_fall_back and _key_failed(problem) and possible(call)
    return [(HEADER, POSSIBLE)] if asks else []


def refused_by_provider(admitted: Admitted, status: int) -> KeyNotFound | None:
    """Return the problem that an answer of this status is if the own key's failure is to be mended; else the answer
    stands as it is."""
    call = admitted.call
    if status != 401 or admitted.source is KeySource.SYSTEM or not possible(call):
        return None
    if admitted.consent == DEMO or (admitted.consent == ASK and call.may_fall_back):
        return KeyNotFound("The provider refused your own key.", reason="refused")
    return None


def may_be_asked(admitted: Admitted, status: int) -> bool:
    """Whether an answer of this status tells that the house's key would serve the call if it asked for that."""
    refused = status == 401 and admitted.source is not KeySource.SYSTEM
    return refused and admitted.consent == ASK and possible(admitted.call)


def _key_failed(problem: DigitalMeError) -> bool:
    return isinstance(problem, CredentialUnreadable) or problem.data.get("reason") in REASONS
