"""Reports of unexpected errors to Sentry, where an operator wants them: no variables, no bodies, no secrets."""

from typing import Any

from digitalme import logs
from digitalme.env import EnvironmentProblem

# Exact names, as the scrubber compares them; the stock list knows few of what credentials are called.
NAMES = (
    "access_token api_key apikey auth authorization body bot_token client_secret code cookie cookies credential"
    " credentials csrfmiddlewaretoken csrftoken data fields fingerprint headers key keys master_key otp passphrase"
    " passwd password pin plain plaintext private_key proxy-authorization raw recovery_code refresh_token secret"
    " secrets session sessionid set-cookie signature smtp_password token value values x-api-key x-goog-api-key"
    " x_api_key"
)
# What of a request is not reported at all.
_REQUEST_PARTS = ("data", "cookies", "headers", "query_string", "env")
MISSING = (
    "SENTRY_DSN is set, but sentry-sdk is not installed. Install it, or take SENTRY_DSN away: pip install sentry-sdk"
)


def start(dsn: str, **options: Any) -> None:
    """Report to this address from now on. Raises EnvironmentProblem if the SDK is not installed."""
    try:
        import sentry_sdk
        from sentry_sdk.integrations.celery import CeleryIntegration
        from sentry_sdk.integrations.django import DjangoIntegration
        from sentry_sdk.scrubber import EventScrubber
    except ImportError:
        raise EnvironmentProblem(MISSING) from None
    sentry_sdk.init(
        dsn=dsn,
        # Those that the SDK would choose by itself read along with whatever client is installed.
        auto_enabling_integrations=False,
        integrations=[DjangoIntegration(), CeleryIntegration()],
        include_local_variables=False,
        include_source_context=False,
        send_default_pii=False,
        max_request_body_size="never",
        event_scrubber=EventScrubber(denylist=NAMES.split(), recursive=True),
        before_send=_cleaned,
        before_send_transaction=_cleaned,
        before_breadcrumb=_cleaned,
        **options,
    )


def _cleaned(event: Any, hint: Any) -> Any:
    """Return an event as it may leave: without the request's parts, every text in it redacted."""
    request = event.get("request")
    if isinstance(request, dict):
        for part in _REQUEST_PARTS:
            request.pop(part, None)
    return _redacted(event)


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return logs.redact(value)
    if isinstance(value, dict):
        return {_redacted(name): _redacted(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(inner) for inner in value]
    return value
