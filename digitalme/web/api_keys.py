"""/settings/api/: a card for each provider, and what can be done with the key on it."""

from typing import Any, cast

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apikeys import checks, keys
from apikeys.models import Credential
from apikeys.resolution import KeySource
from digitalme.errors import DigitalMeError, InvalidKeyFormat
from digitalme.web import provider_cards
from digitalme.web.access import SignedInRequest, page, signed_in
from digitalme.web.provider_cards import Result
from providers import registry
from providers.registry import Provider

TEMPLATE = "settings/api.html"


class KeyForm(forms.Form):
    """The fields that a provider wants; a secret one is never rendered with its value."""

    def __init__(self, provider: Provider, data: Any = None) -> None:
        super().__init__(data, auto_id=f"{provider.slug}-%s")
        for field in provider.manifest.fields:
            # Unstripped: what may stand around a key is one rule, and it lives with the keys.
            self.fields[field.name] = forms.CharField(
                label=field.label,
                help_text=field.help,
                required=field.required,
                strip=False,
                widget=_widget(field.secret, field.example),
            )

    def refuse(self, error: InvalidKeyFormat) -> None:
        """Put a refusal beside the field that it is about; without one it is about the first."""
        name = error.data.get("field")
        self.add_error(name if name in self.fields else next(iter(self.fields)), error.message)


def _widget(secret: bool, example: str) -> forms.Widget:
    attributes = {"autocomplete": "new-password", "spellcheck": "false", "autocapitalize": "none", "data-focus": ""}
    if example:
        attributes["placeholder"] = example
    return forms.PasswordInput(attrs=attributes) if secret else forms.TextInput(attrs=attributes)


@require_safe
@signed_in
def show(request: SignedInRequest) -> HttpResponse:
    """Show a card for each provider."""
    return _answer(request, None)


@require_safe
@signed_in
def show_one(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show one card as it is: the way out of a form or a question."""
    provider = registry.get(slug)
    return _answer(request, provider) if request.htmx else redirect(_place(provider))


@sensitive_post_parameters()
@sensitive_variables("form", "fields")
@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def edit(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show the form for a key; a key that comes back is saved first, then tested."""
    provider = registry.get(slug)
    if not provider.needs_key:
        raise Http404
    form = KeyForm(provider, request.POST if request.method == "POST" else None)
    if request.method != "POST" or not form.is_valid():
        return _answer(request, provider, form=form)
    try:
        owner = keys.Owner("user", request.user.pk)
        credential = keys.set_key(actor=request.user, owner=owner, provider=provider, fields=form.cleaned_data)
    except InvalidKeyFormat as error:
        form.refuse(error)
        return _answer(request, provider, form=form)
    return _done(request, provider, _tested(provider, credential, saved=True))


@require_POST
@signed_in
def test(request: SignedInRequest, slug: str) -> HttpResponse:
    """Ask the provider whether it accepts the key."""
    provider = registry.get(slug)
    return _done(request, provider, _tested(provider, keys.key_of(request.user, provider.slug)))


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def remove(request: SignedInRequest, slug: str) -> HttpResponse:
    """Ask, then remove the key."""
    provider = registry.get(slug)
    credential = keys.key_of(request.user, provider.slug)
    if request.method != "POST":
        return _answer(request, provider, removing=True)
    keys.remove(actor=request.user, credential=credential)
    return _done(request, provider, Result("ok", f"Your {provider.name} key is removed.", ""))


def _tested(provider: Provider, credential: Credential, *, saved: bool = False) -> Result:
    """Return what the test came to, in words. A test that is refused does not undo what was saved."""
    try:
        return provider_cards.result_of(provider, checks.test_credential(credential), saved=saved)
    except DigitalMeError as error:
        return Result("warn", "Saved, not tested." if saved else "Not tested.", error.message)


def _done(request: SignedInRequest, provider: Provider, result: Result) -> HttpResponse:
    if request.htmx:
        return _answer(request, provider, result=result)
    messages.add_message(request, messages.INFO, result.sentence, extra_tags=result.tone)
    return redirect(_place(provider))


def _place(provider: Provider) -> str:
    return f"{reverse('settings_api')}#provider-{provider.slug}"


def _answer(
    request: SignedInRequest,
    provider: Provider | None,
    *,
    form: KeyForm | None = None,
    removing: bool = False,
    result: Result | None = None,
) -> HttpResponse:
    """Answer with the page, one card of it in another state; for HTMX with that card alone."""
    only = provider.slug if provider and request.htmx else None
    cards = provider_cards.cards_of(request.user, now=timezone.now(), only=only)
    for card in cards:
        if provider and card.provider.slug == provider.slug:
            card.form, card.removing, card.result = form, removing, result
    demo = any(card.source == KeySource.SYSTEM for card in cards)
    context = {"cards": cards, "card": cards[0], "demo": demo}
    wrong = form is not None and bool(form.errors)
    return page(cast("Any", request), TEMPLATE, context, fragment="card" if only else "", status=422 if wrong else 200)
