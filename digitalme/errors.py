"""The product's errors: one tree, raised low, rendered once per face."""

from enum import StrEnum
from typing import Any


class ErrorCode(StrEnum):
    """The codes that clients may branch on."""

    KEY_NOT_FOUND = "KeyNotFound"
    DECRYPTION_FAILED = "DecryptionFailed"
    QUOTA_EXCEEDED = "QuotaExceeded"
    PROVIDER_UNAVAILABLE = "ProviderUnavailable"
    INVALID_KEY_FORMAT = "InvalidKeyFormat"
    VALIDATION_TIMEOUT = "ValidationTimeout"
    SECURITY_VIOLATION = "SecurityViolation"
    INVALID_REQUEST = "InvalidRequest"
    UNAUTHENTICATED = "Unauthenticated"
    NOT_FOUND = "NotFound"
    AUDIT_UNAVAILABLE = "AuditUnavailable"
    RATE_LIMITED = "RateLimited"
    NOT_SUPPORTED = "NotSupported"


class DigitalMeError(Exception):
    """Base of all errors that a person or program is meant to read.

    `message` is a plain sentence that says what to do; `data` holds facts for programs. Neither
    may ever carry a secret.
    """

    code = ErrorCode.INVALID_REQUEST
    status = 400
    retryable = False

    def __init__(self, message: str, **data: Any) -> None:
        # Without arguments, so that pickling (Celery) restores the instance from __dict__.
        super().__init__()
        self.message = message
        self.data = data

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.data))


def _rebuild(kind: type[DigitalMeError], message: str, data: dict[str, Any]) -> DigitalMeError:
    return kind(message, **data)


class InvalidRequest(DigitalMeError):
    """The request cannot be understood."""


class Unauthenticated(DigitalMeError):
    """No access token, or one that is unknown, expired or revoked."""

    code = ErrorCode.UNAUTHENTICATED
    status = 401


class NotFound(DigitalMeError):
    """There is no such thing, or not for this caller."""

    code = ErrorCode.NOT_FOUND
    status = 404


class KeyNotFound(DigitalMeError):
    """No key can serve this call."""

    code = ErrorCode.KEY_NOT_FOUND
    status = 404


class DecryptionFailed(DigitalMeError):
    """A stored key cannot be opened."""

    code = ErrorCode.DECRYPTION_FAILED
    status = 500


class QuotaExceeded(DigitalMeError):
    """A limit does not leave room for this call."""

    code = ErrorCode.QUOTA_EXCEEDED
    status = 429


class RateLimited(DigitalMeError):
    """Too many requests in too short a time: nothing is used up, and a moment later there is room again."""

    code = ErrorCode.RATE_LIMITED
    status = 429
    retryable = True


class ProviderUnavailable(DigitalMeError):
    """The provider cannot be reached or answers garbage."""

    code = ErrorCode.PROVIDER_UNAVAILABLE
    status = 502
    retryable = True


class InvalidKeyFormat(DigitalMeError):
    """A key that cannot be one: control characters, wrong kind, too long."""

    code = ErrorCode.INVALID_KEY_FORMAT
    status = 422


class ValidationTimeout(DigitalMeError):
    """The provider took too long."""

    code = ErrorCode.VALIDATION_TIMEOUT
    status = 504
    retryable = True


class SecurityViolation(DigitalMeError):
    """Something that is never allowed, such as a private address as a destination."""

    code = ErrorCode.SECURITY_VIOLATION
    status = 403


class AuditUnavailable(DigitalMeError):
    """What was asked for could not be written down, so it was not done."""

    code = ErrorCode.AUDIT_UNAVAILABLE
    status = 503
    retryable = True


class NotSupported(DigitalMeError):
    """Something that this server does not do at all."""

    code = ErrorCode.NOT_SUPPORTED
    status = 501
