"""/settings/security/: access tokens, second factor, password, sessions, and what happened lately."""

from typing import Any
from uuid import UUID

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from digitalme.accounts import tokens
from digitalme.accounts.models import AccessToken, User
from digitalme.web import activity
from digitalme.web.access import SignedInRequest, page, signed_in

TEMPLATE = "settings/security.html"
SCOPE_LABELS = {
    "gateway": "Call providers through the gateway",
    "api:read": "Read keys' states, quotas and usage",
    "api:write": "Change keys and tokens",
}
NEVER = "never"
LIFETIMES = (("7", "7 days"), ("30", "30 days"), ("90", "90 days"), ("365", "a year"), (NEVER, "No expiry"))


class TokenForm(forms.Form):
    """What a new access token is to be."""

    name = forms.CharField(max_length=100, help_text="The program that will use it, such as “laptop” or “nightly job”.")
    lifetime = forms.ChoiceField(choices=LIFETIMES, initial="90", label="Valid for")
    scopes = forms.MultipleChoiceField(
        choices=[(scope, SCOPE_LABELS.get(scope, scope)) for scope in tokens.SCOPES],
        initial=["gateway"],
        widget=forms.CheckboxSelectMultiple,
        label="It may",
    )

    def lifetime_days(self) -> int | None:
        """The chosen lifetime in days; None never expires."""
        chosen = self.cleaned_data["lifetime"]
        return None if chosen == NEVER else int(chosen)


def token_for_user(user: User, token_id: UUID) -> AccessToken:
    """Return the user's own token; anybody else's does not exist."""
    return get_object_or_404(AccessToken, pk=token_id, user=user, revoked_at=None)


@require_safe
@signed_in
def show(request: SignedInRequest) -> HttpResponse:
    """Show tokens, second factor and sessions."""
    return page(request, TEMPLATE, _context(request.user))


@require_POST
@signed_in
def make_token(request: SignedInRequest) -> HttpResponse:
    """Make a token and show it this one time: it is in this answer and nowhere else."""
    form = TokenForm(request.POST)
    if not form.is_valid():
        return page(request, TEMPLATE, _context(request.user, form=form), fragment="tokens", status=422)
    made, secret = tokens.issue(
        user=request.user,
        name=form.cleaned_data["name"],
        scopes=form.cleaned_data["scopes"],
        lifetime_days=form.lifetime_days(),
        actor=request.user,
    )
    return page(request, TEMPLATE, _context(request.user, made=made, secret=secret), fragment="tokens")


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def revoke_token(request: SignedInRequest, token_id: UUID) -> HttpResponse:
    """Ask, then revoke."""
    token = token_for_user(request.user, token_id)
    if request.method != "POST":
        return page(request, TEMPLATE, _context(request.user, revoking=token), fragment="tokens")
    tokens.revoke(token, actor=request.user)
    if not request.htmx:
        messages.success(request, f"The token {token.name} is revoked.")
        return redirect("settings_security")
    return page(request, TEMPLATE, _context(request.user, revoked=token), fragment="tokens")


def _context(user: User, **more: Any) -> dict[str, Any]:
    kinds = set(Authenticator.objects.filter(user=user).values_list("type", flat=True))
    return {
        "form": TokenForm(),
        "tokens": list(tokens.tokens_of(user).filter(revoked_at=None)),
        "totp_on": Authenticator.Type.TOTP in kinds,
        "recovery_codes_on": Authenticator.Type.RECOVERY_CODES in kinds,
        "session_count": UserSession.objects.filter(user=user).count(),
        "activity": activity.recent(user),
        "now": timezone.now(),
        **more,
    }
