"""Every refusal as a problem document (RFC 9457) with our error code; what was sent is never repeated."""

import logging
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.signals import got_request_exception
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response

from digitalme.errors import DigitalMeError, ErrorCode

MEDIA_TYPE = "application/problem+json"
log = logging.getLogger("django.request")

_TITLES = {
    ErrorCode.KEY_NOT_FOUND: "No key can serve this call",
    ErrorCode.DECRYPTION_FAILED: "A stored key cannot be opened",
    ErrorCode.QUOTA_EXCEEDED: "A limit is reached",
    ErrorCode.RATE_LIMITED: "Too many requests",
    ErrorCode.PROVIDER_UNAVAILABLE: "The provider is unavailable",
    ErrorCode.INVALID_KEY_FORMAT: "This cannot be a key",
    ErrorCode.VALIDATION_TIMEOUT: "The provider took too long",
    ErrorCode.SECURITY_VIOLATION: "Not allowed",
    ErrorCode.INVALID_REQUEST: "The request cannot be carried out",
    ErrorCode.UNAUTHENTICATED: "Not signed in",
    ErrorCode.NOT_FOUND: "Not found",
    ErrorCode.AUDIT_UNAVAILABLE: "It could not be written down",
}
_CODES = {
    401: ErrorCode.UNAUTHENTICATED,
    403: ErrorCode.SECURITY_VIOLATION,
    404: ErrorCode.NOT_FOUND,
    429: ErrorCode.RATE_LIMITED,
}
# DRF's own sentences for these repeat a piece of the request.
_FIXED: dict[type[Exception], str] = {
    exceptions.NotFound: "There is nothing here, or nothing of yours. Addresses end with a slash.",
    exceptions.MethodNotAllowed: "This address does not take this method.",
    exceptions.NotAcceptable: "The answer comes as application/json only.",
    exceptions.UnsupportedMediaType: "Send the body as application/json.",
    exceptions.ParseError: "The body is not valid JSON.",
}
_FIXED_BY_CODE = {"invalid_choice": "This is not one of the choices."}


class TooLarge(exceptions.APIException):
    """The body is larger than any request of this API can be."""

    status_code = 413
    default_detail = "The body is too large: up to 64 KiB are taken."


def handle(error: Exception, context: dict[str, Any]) -> Response:
    """Turn whatever a view raised into a problem document; what is unexpected is logged and becomes a
    500 that tells nothing."""
    request = context["request"]
    request_id = getattr(request, "id", "")
    if isinstance(error, DigitalMeError):
        return _ours(error, request_id)
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    if isinstance(error, exceptions.APIException):
        return _frameworks(error, request_id)
    got_request_exception.send(sender=handle, request=request)
    log.error("fault path=%s", request.path, exc_info=error)
    return _problem(500, "Something went wrong here. It is logged under the request id.", request_id)


def _ours(error: DigitalMeError, request_id: str) -> Response:
    response = _problem(error.status, error.message, request_id, code=error.code, data=error.data)
    if "retry_after" in error.data:
        response["Retry-After"] = str(error.data["retry_after"])
    if error.code is ErrorCode.UNAUTHENTICATED:
        response["WWW-Authenticate"] = 'Bearer realm="DigitalMe"'
    return response


def _frameworks(error: exceptions.APIException, request_id: str) -> Response:
    code = _CODES.get(error.status_code, ErrorCode.INVALID_REQUEST)
    if isinstance(error, exceptions.ValidationError):
        errors = _by_field(error.detail)
        return _problem(400, "Some of what was sent is not valid.", request_id, code=code, errors=errors)
    detail = next((text for kind, text in _FIXED.items() if isinstance(error, kind)), str(error.detail))
    response = _problem(error.status_code, detail, request_id, code=code)
    if header := getattr(error, "auth_header", None):
        response["WWW-Authenticate"] = header
    if (wait := getattr(error, "wait", None)) is not None:
        response["Retry-After"] = str(int(wait) + 1)
    return response


def _by_field(detail: Any, path: str = "") -> dict[str, list[str]]:
    """Flatten nested messages to "field.inner": [sentences]; what concerns the whole is under "body"."""
    if isinstance(detail, dict):
        found: dict[str, list[str]] = {}
        for name, inner in detail.items():
            for place, messages in _by_field(inner, _join(path, str(name))).items():
                found.setdefault(place, []).extend(messages)
        return found
    if isinstance(detail, list) and any(isinstance(item, (dict, list)) for item in detail):
        return _by_field({str(index): item for index, item in enumerate(detail) if item}, path)
    messages = detail if isinstance(detail, list) else [detail]
    return {path or "body": [_FIXED_BY_CODE.get(getattr(text, "code", ""), str(text)) for text in messages]}


def _join(path: str, name: str) -> str:
    if name == "non_field_errors":
        return path
    return f"{path}.{name}" if path else name


def _problem(
    status: int,
    detail: str,
    request_id: str,
    *,
    code: ErrorCode | None = None,
    data: dict[str, Any] | None = None,
    errors: dict[str, list[str]] | None = None,
) -> Response:
    document: dict[str, Any] = {
        "type": f"urn:digitalme:error:{code}" if code else "about:blank",
        "title": _TITLES[code] if code else HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code.value if code else None,  # the schema's own renderer knows plain text only
        "request_id": request_id,
        "data": data or {},
    }
    if errors is not None:
        document["errors"] = errors
    return Response(document, status=status, content_type=MEDIA_TYPE)
