"""The admin's way to a key of the house by consent: which providers can be connected, what one is asked for."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from apikeys import keys, oauth
from apikeys.models import Credential
from apikeys.scopes_form import ScopesForm, told
from digitalme.accounts import security
from digitalme.accounts.models import User
from digitalme.accounts.permissions import Permission
from providers import registry
from providers.registry import Provider

TEMPLATE = "admin/connect_house_key.html"


def connectable() -> list[Provider]:
    """Return the providers of which the house may have a key by consent, and for which an app is registered."""
    return [one for one in registry.all_providers() if oauth.connectable(one, keys.SYSTEM)]


def choose(request: HttpRequest) -> HttpResponse:
    """List the providers that can be connected."""
    _actor(request)
    return _page(request, title="Connect a key of the house by consent", providers=connectable())


def ask(request: HttpRequest, slug: str) -> HttpResponse:
    """Explain what will be asked for, then show the way to the provider. The password is asked for first, as for any
    key of the house."""
    actor = _actor(request)
    security.require_confirmation(request)
    provider = registry.get(slug)
    if not oauth.connectable(provider, keys.SYSTEM):
        raise Http404
    form = ScopesForm(provider, request.POST if request.method == "POST" else None)
    context: dict[str, Any] = {"provider": provider, "form": form, "title": f"Connect {provider.name} for the house"}
    if request.method == "POST" and form.is_valid():
        notes, now = request.session, timezone.now()
        url = oauth.begin(provider, form.chosen, user=actor, owner=keys.SYSTEM, notes=notes, now=now)
        context |= {"url": url, "chosen": told(provider, form.chosen)}
    context["present"] = keys.stored(keys.SYSTEM, provider.slug)
    return _page(request, status=422 if form.errors else 200, **context)


def _page(request: HttpRequest, *, status: int = 200, **context: Any) -> HttpResponse:
    whole = {**admin.site.each_context(request), "opts": Credential._meta, **context}
    return render(request, TEMPLATE, whole, status=status)


def _actor(request: HttpRequest) -> User:
    if not isinstance(request.user, User) or not request.user.has_perm(Permission.MANAGE_SYSTEM_CREDENTIALS):
        raise PermissionDenied
    return request.user
