"""/settings/api/: a card for each provider, and what can be done with the key on it."""

from dataclasses import replace
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect

from apikeys import checks, keys, oauth
from apikeys.models import Credential
from apikeys.resolution import KeySource
from digitalme.errors import DigitalMeError, InvalidKeyFormat, InvalidRequest, KeyNotFound
from digitalme.web import provider_cards
from digitalme.web.access import SignedInRequest, page, signed_in
from digitalme.web.provider_cards import Result
from providers import adapters, registry
from providers.registry import Provider

TEMPLATE = "settings/api.html"


class KeyForm(forms.Form):
    """The fields that a provider wants; a secret one is never rendered with its value."""

    def __init__(self, provider: Provider, data: Any = None, *, stored: Credential | None, new: bool = False) -> None:
        """`stored` is the key to be replaced: its open fields are shown, and where there are such, its secret
        ones may be left as they are. `new` is one more beside others, told apart by its label."""
        self.keeps = stored is not None and any(not field.secret for field in provider.manifest.fields)
        shown = keys.plain_fields(stored, provider) if stored and data is None else {}
        super().__init__(data, auto_id=f"{provider.slug}-%s", initial=shown)
        for field in provider.manifest.fields:
            kept = self.keeps and field.secret and (field.required or _stays(stored, provider, field.name))
            # Unstripped: what may stand around a key is one rule, and it lives with the keys.
            self.fields[field.name] = forms.CharField(
                label=field.label,
                help_text=f"{field.help} Leave it empty to keep the one there is.".strip() if kept else field.help,
                strip=False,
                required=field.required and not kept,
                widget=_widget(field.secret, field.example),
            )
        if new and provider.manifest.several:
            self.fields["label"] = label_field(f"/gateway/{provider.slug}")

    def refuse(self, error: DigitalMeError) -> None:
        """Put a refusal beside the field that it is about; without one it is about the first."""
        name = error.data.get("field")
        self.add_error(name if name in self.fields else next(iter(self.fields)), error.message)


def _stays(stored: Credential | None, provider: Provider, name: str) -> bool:
    """Whether an optional secret is there that stays as it is unless another one is entered."""
    return stored is not None and adapters.own_destination(provider) and name in stored.sealed


def label_field(address: str) -> forms.CharField:
    """Return the field for the word that tells one of several keys from the others."""
    return forms.CharField(
        required=False, max_length=63, help_text=f"A word of your choice that tells it apart: {address}/word."
    )


def _widget(secret: bool, example: str) -> forms.Widget:
    attributes = {"autocomplete": "new-password", "spellcheck": "false", "autocapitalize": "none", "data-focus": ""}
    if example:
        attributes["placeholder"] = example
    return forms.PasswordInput(attrs=attributes) if secret else forms.TextInput(attrs=attributes)


@require_safe
@signed_in
def show(request: SignedInRequest) -> HttpResponse:
    """Show a card for each provider."""
    return answer(request, None)


@require_safe
@signed_in
def show_one(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show one card as it is: the way out of a form or a question."""
    provider = registry.get(slug)
    return answer(request, provider) if request.htmx else redirect(place(provider))


@sensitive_post_parameters()
@sensitive_variables("form", "fields")
@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def edit(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show the form for a key; a key that comes back is saved first, then tested."""
    provider, new = registry.get(slug), "new" in request.GET
    if not provider.needs_key:
        raise Http404
    stored = None if new else keys.credential_for(request.user, provider.slug, label_of(request))
    form = KeyForm(provider, request.POST if request.method == "POST" else None, stored=stored, new=new)
    if request.method != "POST" or not form.is_valid():
        return answer(request, provider, form=form)
    fields = dict(form.cleaned_data)
    label = fields.pop("label", "") if new else label_of(request)
    try:
        if new and keys.credential_for(request.user, provider.slug, label):
            raise InvalidRequest("Another key of yours has this label. Choose another one.", field="label")
        credential = keys.set_key(
            actor=request.user,
            owner=keys.Owner("user", request.user.pk),
            provider=provider,
            fields=fields,
            label=label,
            keep=form.keeps,
        )
    except (InvalidKeyFormat, InvalidRequest) as error:
        form.refuse(error)
        return answer(request, provider, form=form)
    result = try_out(request, provider, credential, saved=True)
    return done(request, provider, _with_repetition(result, credential), everything=new)


def _with_repetition(result: Result, credential: Credential) -> Result:
    """Say so if the same key was there already; of other people's keys nothing is said."""
    same = credential.same_as
    if same is None:
        return result
    said = "It is the same key as before." if same.id == credential.id else f"It is the same key as '{same.label}'."
    return replace(result, detail=f"{result.detail} {said}".strip())


@require_POST
@signed_in
def test(request: SignedInRequest, slug: str) -> HttpResponse:
    """Ask the provider whether it accepts the key."""
    provider = registry.get(slug)
    credential = keys.key_of(request.user, provider.slug, label_of(request))
    return done(request, provider, try_out(request, provider, credential))


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def remove(request: SignedInRequest, slug: str) -> HttpResponse:
    """Ask, then remove the key."""
    provider = registry.get(slug)
    credential = keys.key_of(request.user, provider.slug, label_of(request))
    if request.method != "POST":
        return answer(request, provider, removing=True)
    ended = oauth.remove(actor=request.user, credential=credential)
    result = provider_cards.removed(provider, f" '{credential.label}'" if credential.label else "", ended)
    return done(request, provider, result, everything=provider.manifest.several)


def try_out(request: SignedInRequest, provider: Provider, credential: Credential, *, saved: bool = False) -> Result:
    """Return what the test came to, in words. A test that is refused does not undo what was saved."""
    try:
        outcome = checks.test_credential(credential, actor=request.user, force=saved or "force" in request.POST)
        return provider_cards.result_of(provider, outcome, saved=saved)
    except DigitalMeError as error:
        return Result("warn", "Saved, not tested." if saved else "Not tested.", error.message)


def label_of(request: SignedInRequest) -> str:
    """Return which of several keys the address means; none for the one without a label."""
    return request.GET.get("label", "")


def done(request: SignedInRequest, provider: Provider, result: Result, *, everything: bool = False) -> HttpResponse:
    """Show what came of a deed on its card, or on the whole page if `everything`, since cards come or go."""
    if request.htmx and not everything:
        return answer(request, provider, result=result)
    messages.add_message(request, messages.INFO, result.sentence, extra_tags=result.tone)
    return HttpResponseClientRedirect(place(provider)) if request.htmx else redirect(place(provider))


def place(provider: Provider) -> str:
    """Return the address of a provider's card on the page."""
    return f"{reverse('settings_api')}#provider-{provider.slug}"


def answer(
    request: SignedInRequest,
    provider: Provider | None,
    *,
    form: forms.Form | None = None,
    details: forms.Form | None = None,
    removing: bool = False,
    result: Result | None = None,
) -> HttpResponse:
    """Answer with the page, one card of it in another state; for HTMX with that card alone."""
    only = provider.slug if provider and request.htmx else None
    cards = provider_cards.cards_of(request.user, now=timezone.now(), only=only)
    if provider:
        meant = [card for card in cards if card.provider.slug == provider.slug and card.new == ("new" in request.GET)]
        chosen = next((card for card in meant if card.label == label_of(request)), None)
        if chosen is None:
            raise KeyNotFound("You have no key of your own with this label.")
        chosen.form, chosen.details, chosen.removing, chosen.result = form, details, removing, result
        cards = [chosen] if only else cards
    demo = any(card.source == KeySource.SYSTEM for card in cards)
    context = {"cards": cards, "card": cards[0], "demo": demo}
    wrong = any(one is not None and bool(one.errors) for one in (form, details))
    return page(cast("Any", request), TEMPLATE, context, fragment="card" if only else "", status=422 if wrong else 200)
