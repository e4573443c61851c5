"""/settings/team/<team>/keys/: the keys that a team shares, set and removed by those who look after it."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST

from apikeys import keys, oauth
from apikeys.models import Credential
from digitalme.accounts import teams
from digitalme.accounts.models import Membership
from digitalme.errors import InvalidKeyFormat, InvalidRequest, KeyNotFound
from digitalme.web import api_keys, provider_cards, team
from digitalme.web.access import SignedInRequest, signed_in
from digitalme.web.api_keys import KeyForm
from providers import registry
from providers.registry import Provider

_TONES = {"ok": messages.SUCCESS, "warn": messages.WARNING, "bad": messages.ERROR}


def key_of_team(place: Membership, provider: Provider, label: str) -> Credential:
    """Return one of a team's keys. Raises KeyNotFound."""
    found = keys.keys_of_team(place.team_id).filter(provider=provider.slug, label=label).first()
    if found is None:
        raise KeyNotFound("The team has no such key.")
    return found


@sensitive_post_parameters()
@sensitive_variables("form", "fields")
@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def edit(request: SignedInRequest, team_slug: str, provider_slug: str) -> HttpResponse:
    """Show the form for a key of the team; one that comes back is saved first, then tested."""
    place, provider = teams.managed_place_of(request.user, team_slug), registry.get(provider_slug)
    if not provider.needs_key:
        raise Http404
    label, new = api_keys.label_of(request), "new" in request.GET
    stored = keys.keys_of_team(place.team_id).filter(provider=provider.slug, label=label).first()
    stored = None if new else stored
    form = KeyForm(provider, request.POST if request.method == "POST" else None, stored=stored, new=new)
    shown: dict[str, Any] = {
        "ask": "key",
        "key_provider": provider,
        "key_form": form,
        "label": label,
        "new": new,
        "stored": stored,
    }
    if request.method != "POST" or not form.is_valid():
        return team.one(request, place, **shown)
    fields = dict(form.cleaned_data)
    label = fields.pop("label", "") if new else label
    try:
        if new and keys.keys_of_team(place.team_id).filter(provider=provider.slug, label=label).exists():
            raise InvalidRequest("Another key of the team has this label. Choose another one.", field="label")
        credential = keys.set_key(
            actor=request.user,
            owner=keys.Owner("team", place.team_id),
            provider=provider,
            fields=fields,
            label=label,
            keep=form.keeps,
        )
    except (InvalidKeyFormat, InvalidRequest) as error:
        form.refuse(error)
        return team.one(request, place, **shown)
    return _tested(request, place, credential, saved=True)


@require_POST
@signed_in
def test(request: SignedInRequest, team_slug: str, provider_slug: str) -> HttpResponse:
    """Ask the provider whether it accepts the team's key."""
    place = teams.managed_place_of(request.user, team_slug)
    credential = key_of_team(place, registry.get(provider_slug), api_keys.label_of(request))
    return _tested(request, place, credential, saved=False)


@require_POST
@signed_in
def remove(request: SignedInRequest, team_slug: str, provider_slug: str) -> HttpResponse:
    """Remove a key of the team; the page asked before."""
    place, provider = teams.managed_place_of(request.user, team_slug), registry.get(provider_slug)
    credential = key_of_team(place, provider, api_keys.label_of(request))
    ended = oauth.remove(actor=request.user, credential=credential)
    result = provider_cards.removed(provider, "", ended, whose="The team's")
    messages.add_message(request, _TONES.get(result.tone, messages.INFO), result.sentence)
    return redirect("settings_team_one", team=place.team.slug)


def _tested(request: SignedInRequest, place: Membership, credential: Credential, *, saved: bool) -> HttpResponse:
    result = api_keys.try_out(request, registry.get(credential.provider), credential, saved=saved)
    messages.add_message(request, _TONES.get(result.tone, messages.INFO), result.sentence)
    return redirect("settings_team_one", team=place.team.slug)
