"""Our errors in the provider's own shape, so that its SDK raises its native exceptions."""

import json
from typing import Any

from digitalme.errors import DigitalMeError, ErrorCode

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
}
_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
_JSON = (b"content-type", b"application/json")
_NO_RETRY = (b"x-should-retry", b"false")


def render(error_shape: str, error: DigitalMeError, request_id: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return status, headers and body of a refusal.

    The SDKs retry 409, 429 and 5xx by themselves, so whatever a retry cannot mend says so. A
    `retry_after` in the error's data (whole seconds) becomes the header.
    """
    body = _anthropic(error, request_id) if error_shape == "anthropic" else _openai(error, request_id)
    headers = [_JSON]
    if not error.retryable:
        headers.append(_NO_RETRY)
    seconds = error.data.get("retry_after")
    if isinstance(seconds, int):
        headers.append((b"retry-after", b"%d" % max(seconds, 0)))
    return error.status, headers, json.dumps(body, separators=(",", ":"), default=str).encode()


def _openai(error: DigitalMeError, request_id: str) -> dict[str, Any]:
    kind = _OPENAI_TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    if error.code is ErrorCode.QUOTA_EXCEEDED:
        kind = "insufficient_quota"
    facts = {"code": error.code.value, "request_id": request_id, **error.data}
    return {
        "error": {
            "message": error.message,
            "type": kind,
            "param": None,
            "code": error.code.value,
            "digitalme": facts,
        }
    }


def _anthropic(error: DigitalMeError, request_id: str) -> dict[str, Any]:
    return {
        "type": "error",
        "error": {
            "type": _ANTHROPIC_TYPES.get(error.status, "api_error"),
            "message": error.message,
            "details": {"error_code": error.code.value, **error.data},
        },
        "request_id": request_id,
    }
