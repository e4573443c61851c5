"""How far a call has come, and what it comes to on whatever way out it takes."""

import asyncio
import time

from digitalme.errors import DigitalMeError
from digitalme.gateway.admission import Admitted
from digitalme.gateway.settlement import Outcome
from providers import metering
from providers.metering import Meter, Usage


class Progress:
    """How far a call has come; the settlement reads it on whatever way out the call takes."""

    __slots__ = (
        "admitted",
        "delivering",
        "ended",
        "error_type",
        "first_byte",
        "http_status",
        "meter",
        "passing",
        "reached",
        "revoked",
        "started",
        "status",
        "streaming",
        "task",
    )

    def __init__(self, admitted: Admitted) -> None:
        self.admitted = admitted
        self.started = time.perf_counter()
        self.first_byte: float | None = None
        self.meter: Meter | None = None
        self.reached = False
        self.delivering = self.streaming = self.passing = self.ended = False
        self.http_status: int | None = None
        self.status = "aborted"
        self.error_type = "client_gone"
        self.task = asyncio.current_task()
        self.revoked: DigitalMeError | None = None

    def end(self, status: str, error_type: str = "") -> None:
        """State how the call ended."""
        self.status, self.error_type, self.ended = status, error_type, True

    def revoke(self, reason: DigitalMeError) -> None:
        """Have a call that still runs end now, its caller being told the reason."""
        if self.task is not None and self.revoked is None and not self.ended:
            self.revoked = reason
            self.task.cancel()

    def outcome(self) -> Outcome:
        """Return what there is to settle. A client may leave as soon as it has read the end: it got all."""
        got_all = self.meter is not None and self.meter.finished and not self.passing
        if self.status == "aborted" and not self.revoked and got_all:
            self.end("ok")
        meter = self.meter if self.ended and self.status in ("ok", "failed") else None
        return Outcome(
            admitted=self.admitted,
            status=self.status,
            reached=self.reached,
            usage=self._usage(),
            http_status=self.http_status,
            error_type=self.error_type,
            response_ms=_milliseconds(self.started, time.perf_counter()),
            first_byte_ms=_milliseconds(self.started, self.first_byte) if self.first_byte else None,
            reference=self.meter.reference if self.meter else "",
            bill=meter.bill(self.admitted.call.estimate) if meter else None,
        )

    def _usage(self) -> Usage | None:
        """Return what was consumed. A call that failed before any of its answer was delivered consumed
        nothing that could be counted; one that ended early consumed its prompt and what came of it."""
        call = self.admitted.call
        if not self.reached or call.operation is None or (self.status == "failed" and not self.delivering):
            return None
        meter = self.meter or metering.meter(call.operation, stream=call.estimate.stream, hide_usage=False, status=200)
        return meter.usage(call.estimate)


def _milliseconds(start: float, end: float) -> int:
    return round((end - start) * 1000)
