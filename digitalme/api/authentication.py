"""Who is asking: an access token in one of two headers, or the browser's session."""

from datetime import timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from digitalme.accounts import tokens
from digitalme.accounts.models import AccessToken, User
from digitalme.accounts.tokens import Identity
from digitalme.gateway.admission import TOKEN_PROBLEMS
from digitalme.statements import ask

READ, WRITE = "api:read", "api:write"
TOUCH_AFTER = timedelta(minutes=1)  # a token in steady use is not written to at every request
_UNKNOWN = "There is no such access token. It begins with dm_ and is shown once, when it is made."


class AccessTokenAuthentication(BaseAuthentication):
    """Accept `Authorization: Bearer dm_...` and `x-api-key: dm_...`, with one and the same decision.

    Whoever sends a token is judged by it: a bad one is refused even if the browser is signed in.
    """

    def authenticate(self, request: Request) -> tuple[User, Identity] | None:
        """Return the token's user and identity; None if no token came."""
        sent = _sent(request)
        if not sent:
            return None
        token = next((token for token in sent if tokens.looks_valid(token)), None)
        if token is None:
            raise AuthenticationFailed(_UNKNOWN)
        digest, now = tokens.digest(token), timezone.now()
        who = ask(tokens.identify([digest], now=now)).get(digest)
        if who is None:
            raise AuthenticationFailed(_UNKNOWN)
        if who.state != "active":
            raise AuthenticationFailed(TOKEN_PROBLEMS[who.state])
        row = AccessToken.objects.select_related("user__tier").get(pk=who.token_id)
        if row.last_used_at is None or row.last_used_at < now - TOUCH_AFTER:
            tokens.touch([who.token_id], now=now)
        return row.user, who

    def authenticate_header(self, request: Request) -> str:
        """Make "not signed in" a 401 instead of a 403."""
        return 'Bearer realm="DigitalMe"'


def _sent(request: Request) -> list[str]:
    scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
    bearer = credential.strip() if scheme.lower() in {"bearer", "token"} else ""
    return [token for token in (bearer, request.headers.get("x-api-key", "")) if token]


class HasScope(BasePermission):
    """A token reads with api:read and changes with api:write; a session may do both for its user."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Decide by method; no answer depends on the role, since everything here is the caller's own."""
        if not request.user.is_authenticated:
            return False
        if not isinstance(request.auth, Identity):
            return True
        needed = READ if request.method in SAFE_METHODS else WRITE
        self.message = f"This access token lacks the scope {needed}."
        return needed in request.auth.scopes


class _Scheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = AccessTokenAuthentication
    name = ["bearer", "apiKey"]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        """Describe both headers for the schema."""
        return [
            {"type": "http", "scheme": "bearer", "bearerFormat": "dm_"},
            {"type": "apiKey", "in": "header", "name": "x-api-key"},
        ]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[str]]]:
        """Either of the two is enough."""
        return [{name: []} for name in self.name]
