"""/settings/api/<provider>/connect/: what a provider is asked for, the way there, and what came of it."""

from typing import Any, cast

from django import forms
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_safe
from django_htmx.http import HttpResponseClientRedirect

from apikeys import checks, keys, oauth
from digitalme.errors import DigitalMeError, InvalidRequest
from digitalme.web import provider_cards
from digitalme.web.access import SignedInRequest, page, signed_in
from digitalme.web.provider_cards import Result
from providers import consent, registry
from providers.registry import Provider

ASK, RESULT, FAILED = "settings/connect.html", "settings/connected.html", "settings/connect_failed.html"
_TESTED = "oauth_tested"


class ScopesForm(forms.Form):
    """What the provider is to be asked for, in plain words."""

    scopes = forms.MultipleChoiceField(widget=forms.CheckboxSelectMultiple, label="This server may")

    def __init__(self, provider: Provider, data: Any = None) -> None:
        known = oauth.scopes_of(provider)
        super().__init__(data, initial={"scopes": [scope.name for scope in known if scope.chosen]})
        if known:
            cast(Any, self.fields["scopes"]).choices = [(scope.name, scope.about) for scope in known]
        else:
            del self.fields["scopes"]


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def ask(request: SignedInRequest, slug: str) -> HttpResponse:
    """Explain what will be asked for, then send the person to the provider.

    The last step is a link, or a redirect by HTMX: a browser that keeps to our `form-action` follows no form to
    another site.
    """
    provider = registry.get(slug)
    if not consent.available(provider):
        return redirect("settings_api")
    given = request.POST if request.method == "POST" else None
    form = ScopesForm(provider, given)
    context: dict[str, Any] = {"provider": provider, "form": form}
    if request.method == "POST" and form.is_valid():
        chosen = form.cleaned_data.get("scopes", [])
        url = oauth.begin(provider, chosen, user=request.user, notes=request.session, now=timezone.now())
        if request.htmx:
            return HttpResponseClientRedirect(url)
        context |= {"url": url, "chosen": _told(provider, chosen)}
    context["own"] = keys.credential_for(request.user, provider.slug)
    return page(request, ASK, context, status=422 if form.errors else 200)


@sensitive_variables("given")
@require_safe
@signed_in
def take(request: SignedInRequest, slug: str) -> HttpResponse:
    """Take what the person comes back with, and test what it gave."""
    provider, given = registry.get(slug), request.GET
    try:
        granted = oauth.complete(
            provider,
            state=given.get("state", ""),
            code=given.get("code", ""),
            error=given.get("error", ""),
            user=request.user,
            notes=request.session,
            now=timezone.now(),
        )
    except DigitalMeError as error:
        status = error.status if not isinstance(error, InvalidRequest) else 400
        return page(request, FAILED, {"provider": provider, "error": error}, status=status)
    try:
        outcome = checks.test_credential(granted.credential, actor=request.user)
        result = provider_cards.result_of(provider, outcome)
    except DigitalMeError as error:
        result = Result("warn", "Not tested.", error.message)
    told = {"tone": result.tone, "sentence": result.sentence, "missing": list(granted.missing)}
    request.session[_TESTED] = {**told, "provider": provider.slug, "version": granted.credential.version}
    # So that neither code nor state stay in the address.
    return redirect("settings_api_connection", slug=provider.slug)


@require_safe
@signed_in
def show(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show what was granted."""
    provider = registry.get(slug)
    credential = keys.credential_for(request.user, provider.slug)
    granted = oauth.consent_of(credential) if credential else None
    if credential is None or granted is None:
        return redirect("settings_api")
    just = request.session.get(_TESTED) or {}
    if just.get("provider") != provider.slug or just.get("version") != credential.version:
        just = {}
    context = {
        "provider": provider,
        "credential": credential,
        "consent": granted,
        "scopes": _told(provider, granted.scopes),
        "just": just,
        "missing": _told(provider, just.get("missing", [])),
    }
    return page(request, RESULT, context)


def _told(provider: Provider, names: list[str]) -> list[tuple[str, str]]:
    """Return what scopes allow, in plain words, with their names; one that we do not know has its name alone."""
    known = {scope.name: scope.about for scope in oauth.scopes_of(provider)}
    return [(name, known.get(name, "")) for name in names]
