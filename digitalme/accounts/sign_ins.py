"""What happens on the sign-in pages, which are not ours, goes into the audit trail by way of their signals.

A trail that takes nothing must not lock everybody out, whoever could mend it among them: here, and only
here, what happened stands although it could not be written down. The log says so.
"""

from enum import StrEnum
from typing import Any
from uuid import UUID

from allauth.account import signals as account
from allauth.mfa import signals as mfa
from django.contrib.auth import signals as auth
from django.db import transaction
from django.utils import timezone

from digitalme.accounts import places
from digitalme.accounts.models import User
from digitalme.audit import log as trail
from digitalme.audit.actions import Action
from digitalme.errors import AuditUnavailable


class Method(StrEnum):
    """How somebody proved who they are."""

    PASSWORD = "password"  # noqa: S105 (the word)
    MFA = "mfa"
    OTHER = "other"


class Factor(StrEnum):
    """A second factor by its kind."""

    TOTP = "totp"
    RECOVERY_CODES = "recovery_codes"
    OTHER = "other"


_OF_PERSON = (
    (auth.user_logged_out, Action.LOGOUT),
    (account.user_logged_in, Action.LOGIN),
    (account.password_set, Action.PASSWORD_CHANGED),
    (account.password_changed, Action.PASSWORD_CHANGED),
    (account.password_reset, Action.PASSWORD_RESET),
    (account.email_changed, Action.EMAIL_CHANGED),
)
_OF_FACTOR = (
    (mfa.authenticator_added, Action.SECOND_FACTOR_ADDED),
    (mfa.authenticator_reset, Action.SECOND_FACTOR_ADDED),
    (mfa.authenticator_removed, Action.SECOND_FACTOR_REMOVED),
)


def listen() -> None:
    """Connect everything, once."""
    for signal, action in _OF_PERSON:
        signal.connect(_receiver(action), weak=False, dispatch_uid=f"digitalme.audit.{action}.{id(signal)}")
    for signal, action in _OF_FACTOR:
        signal.connect(_factor_receiver(action), weak=False, dispatch_uid=f"digitalme.audit.{action}.{id(signal)}")
    account.user_logged_in.connect(_entered, dispatch_uid="digitalme.places")
    account.authentication_step_completed.connect(_step, dispatch_uid="digitalme.audit.step")
    account.email_confirmed.connect(_confirmed, dispatch_uid="digitalme.audit.email")
    auth.user_login_failed.connect(_failed, dispatch_uid="digitalme.audit.failed")
    mfa.authentication_failed.connect(_code_failed, dispatch_uid="digitalme.audit.code")


def _receiver(action: Action) -> Any:
    def receive(user: User | None = None, **_signal: Any) -> None:
        if user is not None:
            _note(action, user.pk)

    return receive


def _entered(request: Any, user: User, **_signal: Any) -> None:
    places.noted(user, request, now=timezone.now())


def _factor_receiver(action: Action) -> Any:
    def receive(user: User, authenticator: Any, **_signal: Any) -> None:
        _note(action, user.pk, method=factor_of(authenticator))

    return receive


def factor_of(authenticator: Any) -> StrEnum:
    """Return the kind of a second factor as the trail keeps it."""
    return _one_of(Factor, authenticator.type)


def _step(user: User, method: str, reauthenticated: bool = False, **_signal: Any) -> None:
    if reauthenticated:
        _note(Action.LOGIN_CONFIRMED, user.pk, method=_one_of(Method, method))


def _confirmed(email_address: Any, **_signal: Any) -> None:
    _note(Action.EMAIL_CONFIRMED, email_address.user_id)


def _failed(credentials: dict[str, Any], **_signal: Any) -> None:
    """Tell the owner of the account, where there is one; what was typed is kept nowhere."""
    typed = str(credentials.get("email") or credentials.get("username") or "")
    owner = User.objects.filter(email__iexact=typed).values_list("pk", flat=True).first()
    _note_attempt(owner, Method.PASSWORD)


def _code_failed(user: User, **_signal: Any) -> None:
    _note_attempt(user.pk, Method.MFA)


def _note_attempt(owner: UUID | None, method: Method) -> None:
    place = f"user:{owner}" if owner else "system"
    _write(Action.LOGIN_FAILED, target=place, subject=place if owner else "", method=method)


def _note(action: Action, user_id: UUID, **facts: Any) -> None:
    _write(action, target=f"user:{user_id}", subject=f"user:{user_id}", actor=user_id, **facts)


def _write(action: Action, **event: Any) -> None:
    try:
        with transaction.atomic():
            trail.record(action, **event)
    except AuditUnavailable:
        """It is in the log."""


def _one_of(words: type[StrEnum], given: Any) -> StrEnum:
    return words(given) if given in list(words) else words("other")
