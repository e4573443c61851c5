"""Whether a credential works: one cheap request, its outcome told apart as people need it."""

import contextvars
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import replace
from typing import Any

from digitalme.errors import InvalidKeyFormat, ProviderUnavailable, SecurityViolation, ValidationTimeout
from providers import adapters, echoes, google, outbound
from providers.manifest import Check, Fact
from providers.outbound import Fetched
from providers.outcomes import Category, Outcome, plain
from providers.placement import Outgoing, place_in
from providers.registry import Provider
from providers.rules import Answer, at
from providers.secrets import Secret

__all__ = ["Category", "Outcome", "check"]
TIMEOUT_SECONDS = 10.0


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

UNTESTED = "The key looks right. There is no free way to test it with {name}, so the first call will tell."


def check(provider: Provider, fields: Mapping[str, Secret], *, timeout: float = TIMEOUT_SECONDS) -> Outcome:
    """Ask the provider whether the credential works; blocks for `timeout` seconds at most.

    Never raises for what the provider or the network does: that is the outcome. The secret is in none of it.
    """
    found = _check(provider, fields, timeout)
    guard = echoes.guard_of(provider.manifest, fields)
    return replace(found, message=guard.told(found.message), detail=guard.told(found.detail))


def was_asked(provider: Provider, outcome: Outcome) -> bool:
    """Tell whether the provider was asked for this outcome, and its key not only looked at."""
    return outcome.category is not Category.MALFORMED and outcome.message != UNTESTED.replace("{name}", provider.name)


def _check(provider: Provider, fields: Mapping[str, Secret], timeout: float) -> Outcome:
    if not provider.needs_key:
        return _outcome(provider, Category.VALID, {}, 0.0)
    started = time.monotonic()
    try:
        adapters.check_fields(provider, fields)
        adapter = adapters.of(provider)
        if adapter and (found := adapter.check(provider, fields, timeout=timeout)):
            return _outcome(provider, found.category, found.detail, started, found.message)
        fields = _signed_for(provider, fields, timeout)
        definition = provider.manifest.check_for(fields)
        if definition is None:
            return _outcome(provider, Category.VALID, {}, 0.0, UNTESTED)
        answer = _ask(provider, definition, fields, timeout)
    except google.Refused as refused:
        category, message = _refused(refused)
        detail = {"status": refused.status, "code": _word(refused.code)}
        return _outcome(provider, category, detail, started, message)
    except InvalidKeyFormat as problem:
        return Outcome(Category.MALFORMED, problem.message)
    except ValidationTimeout:
        return _outcome(provider, Category.TIMEOUT, {}, started)
    except ProviderUnavailable as problem:
        return _outcome(provider, Category.NETWORK, dict(problem.data), started)
    except SecurityViolation as problem:
        return Outcome(Category.NETWORK, problem.message)
    category, message = _judge(definition, answer)
    return _outcome(provider, category, _detail(definition, answer, category), started, message)


def _signed_for(provider: Provider, fields: Mapping[str, Secret], timeout: float) -> Mapping[str, Secret]:
    """Return the fields with an access token, if one is fetched with them; to get it is their check."""
    signer = provider.manifest.signer_of(fields)
    if signer is None:
        return fields
    token = google.token_of(provider, signer, fields, timeout=timeout)
    return {**fields, signer.gives: token.secret}


def _refused(refused: google.Refused) -> tuple[Category, str]:
    """Tell what Google's refusal of a token means, and in whose words: a scope or person that a service account may
    not have is no fault of its key."""
    if refused.renewing:
        over = refused.code == "invalid_grant"
        return (Category.EXPIRED, google.REFRESH_OVER) if over else (Category.INVALID, google.CLIENT_UNKNOWN)
    limited = refused.code in ("invalid_scope", "unauthorized_client", "access_denied")
    return Category.LIMITED if limited else Category.INVALID, ""


def _ask(provider: Provider, definition: Check, fields: Mapping[str, Secret], timeout: float) -> Answer:
    """Send the check's request with the credential in its place."""
    request = Outgoing(definition.method, definition.path, dict(definition.headers), definition.body)
    place_in(provider.manifest, fields, request, only=definition.auth)
    there, path = provider.at(request.path)
    found = _within(
        timeout,
        lambda: outbound.fetch(
            request.method,
            there.upstream + path,
            headers={"accept": "application/json", **request.headers},
            body=request.body or None,
            timeout=timeout,
            operator=there.operator_upstream,
        ),
    )
    return Answer(found.status, found.headers, found.body)


def _within(seconds: float, deed: Callable[[], Fetched]) -> Fetched:
    """Do it, but wait no longer: a resolver that is silent, or a head that drips, knows no timeout of ours. Raises
    ValidationTimeout; the thread is left to itself."""
    done: Future[Fetched] = Future()

    def run() -> None:
        try:
            done.set_result(deed())
        except BaseException as problem:  # whatever it is, it belongs to whoever waits
            done.set_exception(problem)

    threading.Thread(target=contextvars.copy_context().run, args=(run,), name="key check", daemon=True).start()
    try:
        return done.result(seconds)
    except FutureTimeout:
        raise ValidationTimeout("The provider did not answer in time.") from None


def _outcome(
    provider: Provider, category: Category, detail: dict[str, Any], started: float, message: str = ""
) -> Outcome:
    taken = round((time.monotonic() - started) * 1000) if started else 0
    return Outcome(category, (message or MESSAGES[category]).replace("{name}", provider.name), detail, taken)


def _judge(definition: Check, answer: Answer) -> tuple[Category, str]:
    """Tell the outcome from an answer, and the definition's own words for it, if it has any. What the
    provider says is read but never passed on."""
    for rule in definition.errors:
        if rule.condition.holds(answer):
            return Category(rule.category), rule.message
    if 200 <= answer.status < 300:
        return (Category.VALID if definition.success.holds(answer) else Category.UNAVAILABLE), ""
    return _BY_STATUS.get(answer.status, Category.UNAVAILABLE), ""


_BY_STATUS = {
    401: Category.INVALID,
    402: Category.QUOTA,
    403: Category.LIMITED,
    408: Category.TIMEOUT,
    429: Category.RATE_LIMITED,
    504: Category.TIMEOUT,
}


def _detail(definition: Check, answer: Answer, category: Category) -> dict[str, Any]:
    """Return facts for programs, and of a good key what the provider tells about it, made safe to show."""
    detail: dict[str, Any] = {"status": answer.status}
    for name in ("request-id", "x-request-id", "x-github-request-id"):
        if name in answer.headers:
            detail["request_id"] = answer.headers[name][:128]
            break
    bad = category is not Category.VALID
    if bad and (code := next((word for path in definition.code if (word := _word(at(answer.value, path)))), "")):
        detail["code"] = code
    if bad and "retry-after" in answer.headers:
        detail["retry_after"] = answer.headers["retry-after"][:32]
    told = {fact.label: plain(_told(fact, answer)) for fact in definition.facts}
    if facts := {label: value for label, value in told.items() if value}:
        detail["facts"] = facts
    return detail


def _told(fact: Fact, answer: Answer) -> Any:
    return answer.headers.get(fact.header) if fact.header else at(answer.value, fact.json)


def _word(value: Any) -> str:
    """Return a code: letters, digits and underscores, or a number; anything else is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)[:64]
    return value[:64] if isinstance(value, str) and value.replace("_", "").isalnum() else ""
