"""/settings/api/<provider>/details/: what goes with a key besides its secret."""

from datetime import date, datetime, time, timedelta

from django import forms
from django.http import HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from apikeys import keys
from apikeys.models import Credential
from apikeys.terms import Terms
from digitalme.errors import InvalidRequest
from digitalme.web import api_keys
from digitalme.web.access import SignedInRequest, signed_in
from digitalme.web.provider_cards import Result, last_day
from providers import registry
from providers.registry import Provider


class DetailsForm(forms.Form):
    """Name, label, last day, day of replacement, and whether the key serves."""

    display_name = forms.CharField(label="Name", required=False, max_length=100, help_text="For your own eyes.")
    expires_on = forms.DateField(
        label="Last day",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text="From the day after, the key starts no call. Empty: it has no end.",
    )
    rotate_by = forms.DateField(
        label="Replace by",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text="You are reminded by mail 14 days and 3 days before, and on the day.",
    )
    is_active = forms.BooleanField(
        label="Switched on", required=False, help_text="Off, it starts no call, and no other key steps in."
    )

    def __init__(self, provider: Provider, credential: Credential, data: object = None) -> None:
        initial = {
            "label": credential.label,
            "display_name": credential.display_name,
            "expires_on": last_day(credential),
            "rotate_by": credential.rotate_by,
            "is_active": credential.is_active,
        }
        super().__init__(data, auto_id=f"{provider.slug}-%s", initial=initial)  # type: ignore[arg-type]
        if provider.manifest.several:
            self.fields["label"] = api_keys.label_field(f"/gateway/{provider.slug}")
        self.fields["display_name"].widget.attrs["data-focus"] = ""

    def terms(self, credential: Credential) -> Terms:
        """Return what was asked for. A last day that was not touched keeps its moment."""
        given = self.cleaned_data
        day: date | None = given["expires_on"]
        expires_at = credential.expires_at if day == last_day(credential) else end_of(day)
        return Terms(given["display_name"], expires_at, given["rotate_by"])


def end_of(day: date | None) -> datetime | None:
    """Return the moment at which a day is over where the reader is."""
    return None if day is None else timezone.make_aware(datetime.combine(day + timedelta(days=1), time()))


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def edit(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show the form; what comes back takes effect at once."""
    provider = registry.get(slug)
    credential = keys.key_of(request.user, provider.slug, api_keys.label_of(request))
    form = DetailsForm(provider, credential, request.POST if request.method == "POST" else None)
    if request.method != "POST" or not form.is_valid():
        return api_keys.answer(request, provider, details=form)
    before = credential.label
    try:
        keys.change_terms(
            actor=request.user,
            credential=credential,
            provider=provider,
            label=form.cleaned_data.get("label"),
            agreed=form.terms(credential),
        )
    except InvalidRequest as error:
        name = {"expires_at": "expires_on"}.get(error.data.get("field", ""), error.data.get("field"))
        form.add_error(name if name in form.fields else None, error.message)
        return api_keys.answer(request, provider, details=form)
    if form.cleaned_data["is_active"] != credential.is_active:
        keys.set_active(actor=request.user, credential=credential, active=form.cleaned_data["is_active"])
    result = Result("ok", "Saved.", "")
    return api_keys.done(request, provider, result, everything=credential.label != before)
