"""Whether a credential works: one cheap request, its outcome told apart as people need it."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from digitalme.errors import InvalidKeyFormat, ProviderUnavailable, SecurityViolation, ValidationTimeout
from providers import auth, outbound
from providers.outbound import Fetched
from providers.registry import Provider
from providers.secrets import Secret

TIMEOUT_SECONDS = 10.0


class Category(StrEnum):
    """What a check can come to. Only `invalid` and `expired` mean that the key is broken."""

    VALID = "valid"
    LIMITED = "limited"
    MALFORMED = "malformed"
    INVALID = "invalid"
    EXPIRED = "expired"
    QUOTA = "quota"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a check: a sentence for people, facts for programs, milliseconds taken."""

    category: Category
    message: str
    detail: dict[str, Any] = field(default_factory=dict)
    latency_ms: int = 0


MESSAGES = {
    Category.VALID: "The key works.",
    Category.LIMITED: "The key is genuine but may not do everything: {name} refused the check for lack of permission.",
    Category.MALFORMED: "This cannot be a key of {name}.",
    Category.INVALID: "{name} does not know this key. It was mistyped, revoked or deleted: make a new one.",
    Category.EXPIRED: "This key has expired. Make a new one at {name}.",
    Category.QUOTA: "The key is genuine, but its account at {name} has no credit left or reached its spend limit.",
    Category.RATE_LIMITED: "The key is genuine, but {name} takes no more requests from it right now. Try again later.",
    Category.UNAVAILABLE: "{name} has a problem of its own right now. The key was not judged; try again later.",
    Category.TIMEOUT: "{name} did not answer in time. The key was not judged; try again later.",
    Category.NETWORK: "{name} cannot be reached from this server. The key was not judged.",
}


def check(provider: Provider, fields: Mapping[str, Secret], *, timeout: float = TIMEOUT_SECONDS) -> Outcome:
    """Ask the provider whether the credential works; blocks for `timeout` seconds at most.

    Never raises for what the provider or the network does: that is the outcome.
    """
    definition = provider.manifest.check
    if not provider.needs_key or definition is None:
        return _outcome(provider, Category.VALID, {}, 0.0)
    headers = dict(definition.headers)
    started = time.monotonic()
    try:
        auth.check_fields(provider.manifest, fields)
        auth.inject(provider.manifest, fields, headers)
        answer = outbound.fetch(
            definition.method,
            provider.upstream + definition.path,
            headers={"accept": "application/json", **headers},
            timeout=timeout,
            operator=provider.operator_upstream,
        )
    except InvalidKeyFormat as problem:
        return Outcome(Category.MALFORMED, problem.message)
    except ValidationTimeout:
        return _outcome(provider, Category.TIMEOUT, {}, started)
    except ProviderUnavailable as problem:
        return _outcome(provider, Category.NETWORK, dict(problem.data), started)
    except SecurityViolation as problem:
        return Outcome(Category.NETWORK, problem.message)
    category, detail = _judge(provider.error_shape, answer)
    return _outcome(provider, category, detail, started)


def _outcome(provider: Provider, category: Category, detail: dict[str, Any], started: float) -> Outcome:
    taken = round((time.monotonic() - started) * 1000) if started else 0
    return Outcome(category, MESSAGES[category].format(name=provider.name), detail, taken)


def _judge(shape: str, answer: Fetched) -> tuple[Category, dict[str, Any]]:
    """Tell the outcome from an answer. The provider's own words are read but never passed on."""
    value = _json(answer.body)
    detail: dict[str, Any] = {"status": answer.status}
    if request_id := answer.headers.get("request-id") or answer.headers.get("x-request-id"):
        detail["request_id"] = request_id[:128]
    if 200 <= answer.status < 300:
        listed = isinstance(value.get("data"), list)
        return (Category.VALID if listed else Category.UNAVAILABLE), detail
    error = value.get("error")
    problem = _Problem(answer.status, error if isinstance(error, Mapping) else {})
    if problem.code:
        detail["code"] = problem.code
    if "retry-after" in answer.headers:
        detail["retry_after"] = answer.headers["retry-after"][:32]
    return (_anthropic(problem) if shape == "anthropic" else _openai(problem)), detail


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


class _Problem:
    """An error answer, its parts made safe to compare."""

    def __init__(self, status: int, error: Mapping[str, Any]) -> None:
        details = error.get("details")
        inner = details.get("error_code") if isinstance(details, Mapping) else None
        self.status = status
        self.kind = _word(error.get("type"))
        self.code = _word(inner) or _word(error.get("code")) or self.kind
        self.message = str(error.get("message") or "").lower()

    def says(self, *parts: str) -> bool:
        """Whether the message has one of these."""
        return any(part in self.message for part in parts)


def _word(value: Any) -> str:
    return value[:64] if isinstance(value, str) and value.replace("_", "").isalnum() else ""


def _openai(problem: _Problem) -> Category:
    """OpenAI: a 401 may be a matter of scopes, a 429 one of money."""
    if problem.code == "insufficient_quota" or problem.kind == "insufficient_quota":
        return Category.QUOTA
    if problem.status == 401:
        forbidden = problem.says("missing scopes", "insufficient permissions", "member of an organization", "ip not")
        if forbidden or problem.says("not authorized"):
            return Category.LIMITED
        return Category.EXPIRED if problem.says("expired") or "expired" in problem.code else Category.INVALID
    return _common(problem)


def _anthropic(problem: _Problem) -> Category:
    """Anthropic: spend limits come as 400 or 429, expired keys as any other 401."""
    if problem.status == 402 or problem.kind == "billing_error" or problem.code.endswith("spend_limit_reached"):
        return Category.QUOTA
    if problem.status == 400 and problem.says("api usage limits", "credit balance is too low"):
        return Category.QUOTA
    if problem.status == 400 and problem.code == "organization_on_hold":
        return Category.LIMITED
    if problem.status == 400 and problem.kind == "invalid_request_error":
        return Category.VALID  # the request was read, so the key was taken
    if problem.status == 401:
        if problem.says("cors requests"):
            return Category.LIMITED
        return Category.EXPIRED if problem.says("expired") else Category.INVALID
    return _common(problem)


def _common(problem: _Problem) -> Category:
    if problem.status == 401:
        return Category.INVALID
    if problem.status == 402:
        return Category.QUOTA
    if problem.status == 403:
        return Category.LIMITED
    if problem.status == 429:
        return Category.RATE_LIMITED
    if problem.status in (408, 504):
        return Category.TIMEOUT
    return Category.UNAVAILABLE
