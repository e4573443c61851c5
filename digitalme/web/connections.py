"""Connecting by consent: what a provider is asked for, the way there, and what came of it; for a person's own key, for
a team's by those who look after it, and, begun in the admin, for the house's."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_safe
from django_htmx.http import HttpResponseClientRedirect

from apikeys import checks, grants, keys, oauth
from apikeys.scopes_form import ScopesForm, told
from digitalme.accounts import teams
from digitalme.accounts.models import Membership
from digitalme.errors import DigitalMeError, InvalidRequest
from digitalme.web import provider_cards
from digitalme.web.access import SignedInRequest, page, signed_in
from digitalme.web.provider_cards import Result
from providers import registry
from providers.registry import Provider

ASK, RESULT, FAILED = "settings/connect.html", "settings/connected.html", "settings/connect_failed.html"
_TESTED = "oauth_tested"


@dataclass(frozen=True, slots=True)
class Place:
    """Whose key it is about, and the addresses of the page that asks, the one with its keys, and the one that tells
    what was granted. `team` is the name of one."""

    owner: keys.Owner
    ask: str
    keys: str
    shown: str
    team: str = ""


def _own(request: SignedInRequest, provider: Provider) -> Place:
    return Place(
        keys.Owner("user", request.user.pk),
        reverse("settings_api_connect", args=[provider.slug]),
        f"{reverse('settings_api')}#provider-{provider.slug}",
        reverse("settings_api_connection", args=[provider.slug]),
    )


def _of_team(place: Membership, provider: Provider) -> Place:
    names = [place.team.slug, provider.slug]
    return Place(
        keys.Owner("team", place.team_id),
        reverse("settings_team_key_connect", args=names),
        f"{reverse('settings_team_one', args=names[:1])}#keys",
        reverse("settings_team_key_connection", args=names),
        place.team.name,
    )


def _of_house(provider: Provider) -> Place:
    listing = reverse("admin:apikeys_credential_changelist")
    return Place(keys.SYSTEM, reverse("admin:apikeys_credential_connect", args=[provider.slug]), listing, listing)


def _place_of(request: SignedInRequest, provider: Provider, owner: keys.Owner | None) -> Place:
    """Return the place of an owner for whom the person went to the provider; their own if that is not known."""
    if owner and owner.kind == "system":
        return _of_house(provider)
    if owner and owner.kind == "team":
        place = teams.memberships_of(request.user).filter(team=owner.id).first()
        return _of_team(place, provider) if place else _own(request, provider)
    return _own(request, provider)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def ask(request: SignedInRequest, slug: str) -> HttpResponse:
    """Explain what will be asked for, then send the person to the provider."""
    provider = registry.get(slug)
    return _ask(request, provider, _own(request, provider))


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def ask_for_team(request: SignedInRequest, team_slug: str, provider_slug: str) -> HttpResponse:
    """The same for a key of a team, by those who look after it."""
    place, provider = teams.managed_place_of(request.user, team_slug), registry.get(provider_slug)
    return _ask(request, provider, _of_team(place, provider))


def _ask(request: SignedInRequest, provider: Provider, place: Place) -> HttpResponse:
    """The last step is a link, or a redirect by HTMX: a browser that keeps to our `form-action` follows no form to
    another site."""
    if not oauth.connectable(provider, place.owner):
        return redirect(place.keys)
    form = ScopesForm(provider, request.POST if request.method == "POST" else None)
    context: dict[str, Any] = {"provider": provider, "form": form, "place": place}
    if request.method == "POST" and form.is_valid():
        notes, now = request.session, timezone.now()
        url = oauth.begin(provider, form.chosen, user=request.user, owner=place.owner, notes=notes, now=now)
        if request.htmx:
            return HttpResponseClientRedirect(url)
        context |= {"url": url, "chosen": told(provider, form.chosen)}
    context["present"] = keys.stored(place.owner, provider.slug)
    return page(request, ASK, context, status=422 if form.errors else 200)


@sensitive_variables("given")
@require_safe
@signed_in
def take(request: SignedInRequest, slug: str) -> HttpResponse:
    """Take what the person comes back with, for whomever they went, and test what it gave."""
    provider, given = registry.get(slug), request.GET
    state = given.get("state", "")
    place = _place_of(request, provider, oauth.owner_behind(state, notes=request.session))
    try:
        granted = oauth.complete(
            provider,
            state=state,
            code=given.get("code", ""),
            error=given.get("error", ""),
            user=request.user,
            notes=request.session,
            now=timezone.now(),
        )
    except DigitalMeError as error:
        status = error.status if not isinstance(error, InvalidRequest) else 400
        return page(request, FAILED, {"provider": provider, "place": place, "error": error}, status=status)
    result = _tested(request, provider, granted)
    if place.owner.kind == "system":
        messages.info(request, f"{provider.name} is connected for the house. {result.sentence}{_left_out(granted)}")
    else:
        facts = {"tone": result.tone, "sentence": result.sentence, "missing": list(granted.missing)}
        which = {"credential": str(granted.credential.pk), "version": granted.credential.version}
        request.session[_TESTED] = {**facts, **which}
    # So that neither code nor state stay in the address.
    return redirect(place.shown)


def _tested(request: SignedInRequest, provider: Provider, granted: oauth.Granted) -> Result:
    try:
        outcome = checks.test_credential(granted.credential, actor=request.user)
        return provider_cards.result_of(provider, outcome)
    except DigitalMeError as error:
        return Result("warn", "Not tested.", error.message)


def _left_out(granted: oauth.Granted) -> str:
    return f" You left out: {', '.join(granted.missing)}." if granted.missing else ""


@require_safe
@signed_in
def show(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show what was granted."""
    provider = registry.get(slug)
    return _show(request, provider, _own(request, provider))


@require_safe
@signed_in
def show_for_team(request: SignedInRequest, team_slug: str, provider_slug: str) -> HttpResponse:
    """Show what was granted to a team, to those who look after its keys."""
    place, provider = teams.managed_place_of(request.user, team_slug), registry.get(provider_slug)
    return _show(request, provider, _of_team(place, provider))


def _show(request: SignedInRequest, provider: Provider, place: Place) -> HttpResponse:
    credential = keys.stored(place.owner, provider.slug)
    granted = grants.consent_of(credential) if credential else None
    if credential is None or granted is None:
        return redirect(place.keys)
    just = request.session.get(_TESTED) or {}
    if (just.get("credential"), just.get("version")) != (str(credential.pk), credential.version):
        just = {}
    context = {
        "provider": provider,
        "place": place,
        "credential": credential,
        "consent": granted,
        "scopes": told(provider, granted.scopes),
        "just": just,
        "missing": told(provider, just.get("missing", [])),
    }
    return page(request, RESULT, context)
