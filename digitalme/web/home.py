"""/: what DigitalMe is, or, for somebody signed in, the three steps to a metered call of one's own."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from apikeys.models import Credential
from digitalme.accounts import tokens
from digitalme.accounts.models import AccessToken, User
from digitalme.web import examples
from digitalme.web import live as live_pages
from digitalme.web.access import PageRequest, SignedInRequest, page, signed_in
from providers import registry
from usage import analytics
from usage.models import UsageRecord

TEMPLATE = "home.html"
TOKEN_NAME = "Start page"  # noqa: S105 (what the token is called)


@require_safe
@never_cache
def show(request: PageRequest) -> HttpResponse:
    """Show the start page."""
    if not request.user.is_authenticated:
        return page(request, TEMPLATE, {"example": examples.sandbox(request)})
    return page(request, TEMPLATE, _context(request))


@require_safe
@signed_in
def live(request: SignedInRequest) -> HttpResponse:
    """Answer an open start page: with nothing while nothing changed, else with today's numbers."""
    stamp = live_pages.stamp(request.user, timezone.now())
    if request.GET.get("seen") == stamp:
        return HttpResponse(status=204)
    if not request.htmx:
        return redirect("home")
    return page(request, TEMPLATE, {**_today(request.user), "stamp": stamp}, fragment="watch")


@require_POST
@signed_in
def make_token(request: SignedInRequest) -> HttpResponse:
    """Make a token and show it this one time, in the example that uses it."""
    _, secret = tokens.issue(user=request.user, name=TOKEN_NAME, scopes=["gateway"])
    return page(request, TEMPLATE, _context(request, secret), fragment="first-call")


@require_safe
@signed_in
def to_settings(request: SignedInRequest) -> HttpResponse:
    """Lead to the first page of the settings."""
    return redirect("settings_profile")


def _context(request: Any, secret: str = "") -> dict[str, Any]:
    user = request.user
    return {
        "stamp": live_pages.stamp(user, timezone.now()),
        "example": examples.sandbox(request, secret),
        "secret": secret,
        "has_token": AccessToken.objects.filter(user=user, revoked_at=None).exists(),
        "own_keys": Credential.objects.filter(user=user).count(),
        "providers": [provider for provider in registry.all_providers() if provider.needs_key],
        **_today(user),
    }


def _today(user: User) -> dict[str, Any]:
    return {
        "has_called": UsageRecord.objects.filter(user_id=user.pk).exists(),
        "today": analytics.today(user, timezone.now()),
    }
