"""Our errors in the provider's own shape, so that its SDK raises its native exceptions."""

import json
from collections.abc import Callable
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
_SLACK_ERRORS = {
    ErrorCode.UNAUTHENTICATED: "invalid_auth",
    ErrorCode.KEY_NOT_FOUND: "not_authed",
    ErrorCode.QUOTA_EXCEEDED: "ratelimited",
    ErrorCode.RATE_LIMITED: "ratelimited",
    ErrorCode.SECURITY_VIOLATION: "no_permission",
    ErrorCode.NOT_FOUND: "unknown_method",
    ErrorCode.PROVIDER_UNAVAILABLE: "service_unavailable",
    ErrorCode.VALIDATION_TIMEOUT: "request_timeout",
    ErrorCode.INVALID_REQUEST: "invalid_arguments",
}
# The ids of 2captcha.com/api-docs/error-codes that mean most nearly the same.
_TWOCAPTCHA_ERRORS = {
    ErrorCode.UNAUTHENTICATED: (1, "ERROR_KEY_DOES_NOT_EXIST"),
    ErrorCode.KEY_NOT_FOUND: (1, "ERROR_KEY_DOES_NOT_EXIST"),
    ErrorCode.QUOTA_EXCEEDED: (10, "ERROR_ZERO_BALANCE"),
    ErrorCode.SECURITY_VIOLATION: (11, "ERROR_IP_NOT_ALLOWED"),
    ErrorCode.NOT_FOUND: (14, "ERROR_NO_SUCH_METHOD"),
    ErrorCode.PROVIDER_UNAVAILABLE: (2, "ERROR_NO_SLOT_AVAILABLE"),
    ErrorCode.VALIDATION_TIMEOUT: (2, "ERROR_NO_SLOT_AVAILABLE"),
    ErrorCode.RATE_LIMITED: (2, "ERROR_NO_SLOT_AVAILABLE"),
}
# google.rpc.Code, as Google's APIs name it.
_GOOGLE_STATUSES = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    502: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_JSON_RPC_CODES = {400: -32600, 404: -32601, 422: -32602}
_JSON = (b"content-type", b"application/json")
_PROBLEM = (b"content-type", b"application/problem+json")
_NO_RETRY = (b"x-should-retry", b"false")
# PyGithub sleeps for as long as Retry-After says, in the middle of the caller's program.
MAX_GITHUB_WAIT = 60


def render(error_shape: str, error: DigitalMeError, request_id: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return status, headers and body of a refusal.

    The SDKs retry 409, 429 and 5xx by themselves, so whatever a retry cannot mend says so. A
    `retry_after` in the error's data (whole seconds) becomes the header.
    """
    status, body = _SHAPES[error_shape](error, request_id)
    headers = [_PROBLEM if error_shape == "problem" else _JSON]
    if not error.retryable:
        headers.append(_NO_RETRY)
    seconds = wait_of(error)
    if seconds is not None and not (error_shape == "github" and seconds > MAX_GITHUB_WAIT):
        headers.append((b"retry-after", b"%d" % seconds))
    return status, headers, json.dumps(body, separators=(",", ":"), default=str).encode()


def wait_of(error: DigitalMeError) -> int | None:
    """Return the seconds after which a retry makes sense, None if the error does not say."""
    seconds = error.data.get("retry_after")
    return max(seconds, 0) if isinstance(seconds, int) else None


def _facts(error: DigitalMeError, request_id: str) -> dict[str, Any]:
    return {"code": error.code.value, "request_id": request_id, **error.data}


def _openai(error: DigitalMeError, request_id: str) -> tuple[int, dict[str, Any]]:
    kind = _OPENAI_TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    if error.code is ErrorCode.QUOTA_EXCEEDED:
        kind = "insufficient_quota"
    return error.status, {
        "error": {
            "message": error.message,
            "type": kind,
            "param": None,
            "code": error.code.value,
            "digitalme": _facts(error, request_id),
        }
    }


def _anthropic(error: DigitalMeError, request_id: str) -> tuple[int, dict[str, Any]]:
    return error.status, {
        "type": "error",
        "error": {
            "type": _ANTHROPIC_TYPES.get(error.status, "api_error"),
            "message": error.message,
            "details": {"error_code": error.code.value, **error.data},
        },
        "request_id": request_id,
    }


def _slack(error: DigitalMeError, request_id: str) -> tuple[int, dict[str, Any]]:
    """Slack answers 200 to whatever it understood; only limits and faults have a status of their own."""
    status = error.status if error.status in (429, 502, 504) else 200
    told = {"messages": [f"[ERROR] {error.message}"]}
    facts = _facts(error, request_id)
    return status, {
        "ok": False,
        "error": _SLACK_ERRORS.get(error.code, "internal_error"),
        "detail": error.message,
        "response_metadata": told,
        "digitalme": facts,
    }


def _github(error: DigitalMeError, request_id: str) -> tuple[int, dict[str, Any]]:
    """PyGithub knows an exceeded limit by how the message begins."""
    over = error.code in (ErrorCode.QUOTA_EXCEEDED, ErrorCode.RATE_LIMITED)
    return error.status, {
        "message": f"API rate limit exceeded: {error.message}" if over else error.message,
        "documentation_url": "",
        "status": str(error.status),
        "digitalme": _facts(error, request_id),
    }


def _telegram(error: DigitalMeError, request_id: str) -> tuple[int, dict[str, Any]]:
    """Telegram's clients take a 404 for a bad token and hide its text; a missing key is a 403 therefore."""
    status = 403 if error.code is ErrorCode.KEY_NOT_FOUND else error.status
    seconds = wait_of(error)
    return status, {
        "ok": False,
        "error_code": status,
        "description": error.message,
        **({} if seconds is None else {"parameters": {"retry_after": seconds}}),
        "digitalme": _facts(error, request_id),
    }


def _clickup(error: DigitalMeError, request_id: str) -> tuple[int, dict[str, Any]]:
    code = f"DIGITALME_{error.code.value}"
    return error.status, {"err": error.message, "ECODE": code, "digitalme": _facts(error, request_id)}


def _twocaptcha(error: DigitalMeError, request_id: str) -> tuple[int, dict[str, Any]]:
    """2Captcha answers 200 to everything; one body serves both of its APIs, of which the older one's SDK
    looks for the word ERROR."""
    number, code = _TWOCAPTCHA_ERRORS.get(error.code, (3, "ERROR_BAD_PARAMETERS"))
    return 200, {
        "errorId": number,
        "errorCode": code,
        "errorDescription": error.message,
        "status": 0,
        "request": code,
        "error_text": error.message,
        "digitalme": _facts(error, request_id),
    }


def _google(error: DigitalMeError, request_id: str) -> tuple[int, dict[str, Any]]:
    """Google's clients answer a 401 by refreshing their token, which hides what was said: a 403 does not."""
    status = 403 if error.status == 401 else error.status
    facts = {"reason": error.code.value, "domain": "digitalme", "message": error.message}
    return status, {
        "error": {
            "code": status,
            "message": error.message,
            "status": _GOOGLE_STATUSES.get(status, "INTERNAL"),
            "errors": [facts],
            "details": [{"reason": error.code.value, "metadata": _facts(error, request_id)}],
        }
    }


def _json_rpc(error: DigitalMeError, request_id: str) -> tuple[int, dict[str, Any]]:
    code = _JSON_RPC_CODES.get(error.status, -32000)
    told = {"code": code, "message": error.message, "data": _facts(error, request_id)}
    return error.status, {"jsonrpc": "2.0", "id": None, "error": told}


def _problem(error: DigitalMeError, request_id: str) -> tuple[int, dict[str, Any]]:
    """RFC 9457."""
    return error.status, {
        "type": "about:blank",
        "title": error.code.value,
        "status": error.status,
        "detail": error.message,
        **_facts(error, request_id),
    }


_SHAPES: dict[str, Callable[[DigitalMeError, str], tuple[int, dict[str, Any]]]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "slack": _slack,
    "github": _github,
    "telegram": _telegram,
    "clickup": _clickup,
    "twocaptcha": _twocaptcha,
    "google": _google,
    "jsonrpc": _json_rpc,
    "problem": _problem,
}
