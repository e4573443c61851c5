"""What asks for more than being signed in."""

import time

from allauth.account import app_settings
from allauth.account.authentication import get_authentication_records
from allauth.core.exceptions import ReauthenticationRequired
from django.http import HttpRequest


def confirmed_recently(request: HttpRequest) -> bool:
    """Whether whoever sits there proved in the last five minutes who they are, signing in or again since."""
    records = get_authentication_records(request, request.user)
    latest = max((float(record["at"]) for record in records), default=0.0)
    return time.time() - latest < float(app_settings.REAUTHENTICATION_TIMEOUT)


def require_confirmation(request: HttpRequest) -> None:
    """Send the person to confirm their password, and back, unless they just did; the form they sent is
    kept in their session meanwhile, so it must hold no secret."""
    if not confirmed_recently(request):
        raise ReauthenticationRequired
