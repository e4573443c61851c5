"""Go over the whole trail and say where it is not what was written."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, Max
from django.db.models.functions import Coalesce

from digitalme.audit import chain
from digitalme.audit.models import GENESIS, AuditEvent, AuditHead

AT_ONCE = 1_000
# A purge that runs meanwhile moves the beginning; then it is read again.
_TRIES = 3

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which events there are, and what is wrong: a sentence and the event's number, or neither."""

    first: int = 1
    last: int = 0
    hash: str = GENESIS
    problem: str = ""
    sequence: int | None = None

    @property
    def intact(self) -> bool:
        """Whether nothing was changed, moved, added or taken away."""
        return not self.problem

    @property
    def witness(self) -> str:
        """What proves later that the trail once reached this far, kept outside of the database."""
        return f"{self.last}:{self.hash}"


class _Broken(Exception):
    def __init__(self, sequence: int | None, problem: str) -> None:
        super().__init__(problem)
        self.sequence = sequence


def verify(*, witness: str = "") -> Verdict:
    """Check every event and both ends of the trail.

    Who can write to the database and has no audit key can put back an earlier state of everything, with
    the end that belonged to it. Only what is kept elsewhere shows that: `witness`, of an earlier verdict.
    """
    for _ in range(_TRIES):
        before = AuditHead.objects.first()
        try:
            head = _walk()
            _compare(head, witness)
        except _Broken as problem:
            verdict = Verdict(sequence=problem.sequence, problem=str(problem))
            after = AuditHead.objects.first()
            if before and after and before.anchor_sequence != after.anchor_sequence:
                continue
            return verdict
        return Verdict(head.anchor_sequence + 1, head.sequence, head.hash)
    return verdict


def examine(*, now: datetime) -> Verdict:
    """Check the trail, note the result beside its head, and tell the log."""
    verdict = verify()
    note(verdict.problem, now=now)
    if verdict.intact:
        log.info("audit trail intact first=%s witness=%s", verdict.first, verdict.witness)
    return verdict


def note(problem: str, *, now: datetime) -> None:
    """Keep the outcome of a check where the admin shows it; a problem is an error in the log too."""
    if problem:
        log.error("audit trail broken: %s", problem)
        AuditHead.objects.update(verified_at=now, problem=problem[:200], broken_since=Coalesce(F("broken_since"), now))
    else:
        AuditHead.objects.update(verified_at=now, problem="", broken_since=None)


def _walk() -> AuditHead:
    highest = AuditEvent.objects.aggregate(highest=Max("sequence"))["highest"] or 0
    head = AuditHead.objects.first()  # read after the above, so that events written meanwhile are within
    if head is None:
        raise _Broken(None, "The head of the trail is gone, so nobody can tell where it ends.")
    if not chain.same(head.mac, chain.seal(head)):
        raise _Broken(None, "The head of the trail was altered, or made under another DIGITALME_AUDIT_KEY.")
    if highest > head.sequence:
        raise _Broken(highest, f"Event {highest} stands behind the end of the trail, which is event {head.sequence}.")
    if back := AuditEvent.objects.filter(sequence__lte=head.anchor_sequence).order_by("sequence").first():
        raise _Broken(back.sequence, f"Event {back.sequence} was deleted for its age and is there again.")
    expected, link = head.anchor_sequence + 1, head.anchor_hash
    for event in _events(head.anchor_sequence, head.sequence):
        if event.sequence != expected:
            raise _Broken(expected, f"Event {expected} is missing.")
        if event.previous != link or not _genuine(event):
            raise _Broken(expected, f"Event {expected} was altered, or is not the one that stood there.")
        expected, link = expected + 1, event.hash
    if expected <= head.sequence:
        raise _Broken(expected, f"Event {expected} is missing and all after it; the trail ended at {head.sequence}.")
    if link != head.hash:
        raise _Broken(head.sequence, f"Event {head.sequence} is not the one that the trail ended with.")
    return head


def _events(after: int, through: int) -> Iterator[AuditEvent]:
    while after < through:
        found = AuditEvent.objects.filter(sequence__gt=after, sequence__lte=through).order_by("sequence")[:AT_ONCE]
        numbers = list(found.values_list("sequence", flat=True))
        if not numbers:
            return
        try:
            yield from list(found)
        except (ValueError, TypeError):  # an altered row need not even hold what its columns should
            yield from _one_by_one(numbers)
        after = numbers[-1]


def _one_by_one(numbers: list[int]) -> Iterator[AuditEvent]:
    for number in numbers:
        try:
            event = AuditEvent.objects.get(sequence=number)
        except (ValueError, TypeError):
            raise _Broken(number, f"Event {number} was altered: it cannot be read any more.") from None
        yield event


def _genuine(event: AuditEvent) -> bool:
    try:
        return chain.same(event.hash, chain.digest(event))
    except (ValueError, TypeError, AttributeError):
        return False


def _compare(head: AuditHead, witness: str) -> None:
    """Look for what was once the trail's last event. One deleted for its age since then tells nothing."""
    if not witness:
        return
    number, _, link = witness.partition(":")
    sequence = int(number)
    if sequence < head.anchor_sequence or sequence == 0:
        return
    kept = AuditEvent.objects.filter(sequence=sequence).values_list("hash", flat=True).first()
    found = head.anchor_hash if sequence == head.anchor_sequence else kept
    if found != link:
        raise _Broken(sequence, f"Event {sequence} is not the one that was witnessed: an older state was put back.")
