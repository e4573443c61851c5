"""What is told only later: answers that name a call whose figures come with another answer, and those that bring
them."""

import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from providers import answers, counts
from providers.answers import AnswerMeter
from providers.counts import Bill, Estimate, Usage
from providers.operations import ANY, Operation, UsagePaths
from providers.rules import Answer, at

MAX_REFERENCE = 100
_RESULTS = "/results"
_ENDED = frozenset({"completed", "incomplete", "failed", "cancelled", "expired"})
# The service takes nothing for a captcha that nobody could solve.
_GIVEN_UP = "ERROR_CAPTCHA_UNSOLVABLE"


def referred(value: Any) -> str:
    """Return what a provider calls a task, a batch or a response; empty if that cannot be it."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return ""
    text = str(value)
    return text if len(text) <= MAX_REFERENCE and text.isascii() and text.isprintable() else ""


class OpenAIMeter(AnswerMeter):
    """Batches and stored responses: each tells its usage once it has ended, however often it is fetched."""

    def _look(self, answer: Answer) -> None:
        value = answer.value
        if not isinstance(value, Mapping) or value.get("object") not in ("batch", "response"):
            return
        name, batch = referred(value.get("id")), value["object"] == "batch"
        if batch and not self._operation.path.endswith(ANY):
            self.reference = name
        usage, model = value.get("usage"), value.get("model")
        if name and value.get("status") in _ENDED and isinstance(usage, Mapping):
            model = model if isinstance(model, str) else ""
            told = counts.of_openai(usage, model, value.get("service_tier"))
            self._bill = Bill(name, replace(told, variant="processing=batch") if batch else told)


class CaptchaMeter(AnswerMeter):
    """2Captcha's tasks in both of its APIs: what a captcha cost is told with its solution, if at all; what it costs
    otherwise stands in the definition."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._cost: Decimal | None = None

    def _look(self, answer: Answer) -> None:
        value, text = answer.value, answer.text.strip()
        table = value if isinstance(value, Mapping) else {}
        if self._operation.unit_price is not None:
            named = text[3:] if text.startswith("OK|") else table.get("request")
            self.reference = "" if self.failed else referred(table.get("taskId", named))
        elif self.failed:
            self._cost = Decimal(0) if _GIVEN_UP in text else None
        elif table.get("status") == "ready" or (self._operation.usage and table.get("status") == 1):
            self._cost = answers.cost(table, (("cost",), ("price",)))
        elif self._operation.usage and text.startswith("OK|"):
            self._cost = answers.cost({"price": text.rpartition("|")[2]}, (("price",),))

    def usage(self, estimate: Estimate) -> Usage:
        """Return what this call took by itself: a captcha that was taken, or nothing."""
        return Usage(0, 0, units=0 if self.failed or self._operation.unit_price is None else 1)

    def bill(self, estimate: Estimate) -> Bill | None:
        """Return what the task cost that was asked about."""
        if self._cost is None or not estimate.reference:
            return None
        return Bill(estimate.reference, Usage(0, 0, cost=self._cost))


class AnthropicMeter(AnswerMeter):
    """Batches of messages: a new one has a name and no price yet, its results tell what each message took. Results
    above what is read of an answer leave the batch without a price."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._taken: list[Usage] = []
        self.results = self._operation.path.endswith(_RESULTS)

    def _look(self, answer: Answer) -> None:
        if not self.results:
            value = answer.value
            batch = isinstance(value, Mapping) and value.get("type") == "message_batch"
            if batch and not self._operation.path.endswith(ANY):
                self.reference = referred(value.get("id"))
            return
        for line in answer.body.splitlines():
            message = at(_json(line), ("result", "message"))
            usage = message.get("usage") if isinstance(message, Mapping) else None
            if isinstance(usage, Mapping):
                model = message["model"] if isinstance(message.get("model"), str) else ""
                self._taken.append(replace(counts.of_anthropic(usage, model), variant="processing=batch"))

    def usage(self, estimate: Estimate) -> Usage:
        """Return what this call took by itself: what nobody knows yet, if it began a batch."""
        return Usage(0, 0, untold=bool(self.reference))

    def bill(self, estimate: Estimate) -> Bill | None:
        """Return what the batch took that was asked about: each message has its own price, by its own length."""
        if not self._taken or not estimate.reference:
            return None
        from providers import pricing, registry

        manifest = registry.get("anthropic").manifest
        prices = [pricing.price(manifest, one.model, one).cost for one in self._taken]
        known = [one for one in prices if one is not None]
        models = {one.model for one in self._taken}
        names = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
        total = Usage(
            **{name: min(sum(getattr(one, name) for one in self._taken), counts.MAX_COUNT) for name in names},
            model=models.pop() if len(models) == 1 else "",
            cost=sum(known, Decimal(0)) if len(known) == len(prices) else None,
        )
        return Bill(estimate.reference, total, pricing.VERSION)


def batch_of(path: str) -> str:
    """Return what the provider calls the batch whose results a path is; empty if it is none of these."""
    parts = path.split("/")
    return referred(parts[4]) if path.endswith(_RESULTS) and len(parts) == 6 else ""


def _json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


METERS: Mapping[str, type[AnswerMeter]] = {
    "openai_later": OpenAIMeter,
    "anthropic_later": AnthropicMeter,
    "captcha": CaptchaMeter,
}
_PRICED = UsagePaths(cost=(("price",),))


def asked(operation: Operation, asked: Mapping[str, Any]) -> Operation:
    """Return the operation that a request is: one for a result may ask for its price too."""
    return replace(operation, usage=_PRICED) if asked.get("action") == "get2" else operation


def estimate(operation: Operation, asked: Mapping[str, Any]) -> Estimate:
    """Return what such a call counts as, and which task it asks about."""
    named = referred(asked.get("taskId")) or referred(asked.get("id"))
    return Estimate(operation.requests, 0, 0, "", False, reference=named)
