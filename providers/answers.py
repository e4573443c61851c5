"""Answers that are metered by rules: failures with a good status, numbers at JSON paths, a price for each."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from providers.counts import MAX_COUNT, Bill, Estimate, Told, Usage
from providers.operations import Operation, UsagePaths
from providers.rules import Answer, Failure, at
from providers.streams import BYTES_PER_TOKEN, MAX_PARSED

MAX_COST = Decimal(100_000)
Paths = tuple[tuple[str, ...], ...]


class AnswerMeter(Told):
    """Keeps a copy of a whole answer and asks the rules about it."""

    garbled = False
    finished = True  # the end of such an answer is told by its length

    def __init__(self, operation: Operation, status: int, failures: Sequence[Failure]) -> None:
        self.failed = ""
        self._operation, self._status, self._failures = operation, status, failures
        self._pieces: list[bytes] = []
        self._size = 0
        self._value: Any = None
        self._bill: Bill | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Keep a copy and pass the piece on. An answer above MAX_PARSED is no longer looked at: what rules
        speak of is short."""
        self._size += len(chunk)
        if self._size <= MAX_PARSED:
            self._pieces.append(chunk)
        return chunk

    def end(self) -> bytes:
        """Read what was kept."""
        if self._size <= MAX_PARSED:
            answer = Answer(self._status, {}, b"".join(self._pieces))
            failure = next((one for one in self._failures if one.condition.holds(answer)), None)
            if failure:
                named = at(answer.value, failure.error)
                self.failed = str(named)[:64] if isinstance(named, (str, int)) else "refused"
            if self._operation.usage:
                self._value = answer.value
            self._look(answer)
        self._pieces = []
        return b""

    def bill(self, estimate: Estimate) -> Bill | None:
        """Return what an earlier call took, if this answer tells."""
        return self._bill

    def _look(self, answer: Answer) -> None:
        """Read what the rules do not speak of."""

    def usage(self, estimate: Estimate) -> Usage:
        """Return what the answer says was taken; of a failed one nothing."""
        if self.failed:
            return Usage(0, 0, model=estimate.model)
        units = 1 if self._operation.unit_price is not None else 0
        paths = self._operation.usage
        if paths is None:
            return Usage(0, 0, model=estimate.model, units=units)
        return _read(self._value, paths, estimate, units, self._size)


def _read(value: Any, paths: UsagePaths, estimate: Estimate, units: int, size: int) -> Usage:
    named = next((name for path in paths.model if isinstance(name := at(value, path), str) and name), estimate.model)
    spent, made = _count(value, paths.input_tokens), _count(value, paths.output_tokens)
    told = cost(value, paths.cost)
    if spent is None and made is None:
        if not (paths.input_tokens or paths.output_tokens):
            return Usage(0, 0, model=named, units=units, cost=told)
        made = min(estimate.output_tokens, -(-size // BYTES_PER_TOKEN))
        return Usage(estimate.input_tokens, made, model=named, counted_by="estimated", units=units, cost=told)
    spent, made = spent or 0, made or 0
    cached, thought = _count(value, paths.cached_tokens) or 0, _count(value, paths.reasoning_tokens) or 0
    return Usage(
        spent,
        made,
        min(cached, spent),
        reasoning_tokens=min(thought, made),
        model=named,
        units=units,
        cost=told,
    )


def _count(value: Any, paths: Paths) -> int | None:
    """Return the sum of the counts at these paths, None if there is none at any."""
    found = [at(value, path) for path in paths]
    counts = [one for one in found if isinstance(one, int) and not isinstance(one, bool) and one >= 0]
    return min(sum(counts), MAX_COUNT) if counts else None


def cost(value: Any, paths: Paths) -> Decimal | None:
    """Return the dollars at the first of these paths that has anything; None if that is no sensible amount."""
    found = next((one for path in paths if (one := at(value, path)) is not None), None)
    if isinstance(found, bool) or not isinstance(found, (str, int, float)):
        return None
    try:
        dollars = Decimal(str(found))
    except InvalidOperation:
        return None
    return dollars if dollars.is_finite() and 0 <= dollars <= MAX_COST else None
