"""/settings/preferences/: time zone, theme, and by which ways one wants to be told of what."""

import zoneinfo
from functools import cache
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from digitalme.accounts.models import User
from digitalme.errors import InvalidRequest
from digitalme.notifications import preferences
from digitalme.notifications.kinds import ABOUT, Channel, Kind, offered_to
from digitalme.notifications.preferences import Choice
from digitalme.web.access import SignedInRequest, page, signed_in
from quotas import fallback
from quotas.fallback import LEAST, MOST


@cache
def time_zones() -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the choices by region, UTC first; zones without a region are old aliases."""
    regions: dict[str, list[tuple[str, str]]] = {}
    for name in sorted(zoneinfo.available_timezones()):
        region, _, city = name.partition("/")
        if city and region not in {"Etc", "SystemV", "posix", "right"}:
            regions.setdefault(region, []).append((name, city.replace("_", " ")))
    return [("World", [("UTC", "UTC")]), *regions.items()]


CHANNELS = {Channel.INBOX: "Inbox", Channel.MAIL: "E-mail", Channel.WEBHOOK: "Webhooks"}


class PreferencesForm(forms.ModelForm[User]):
    time_zone = forms.ChoiceField(
        choices=time_zones, help_text="Daily and monthly limits start anew at midnight in this zone."
    )

    class Meta:
        model = User
        fields = ["theme", "time_zone"]
        widgets = {"theme": forms.RadioSelect}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        current = self.instance.time_zone
        zones = time_zones()
        if not any(name == current for _, names in zones for name, _ in names):
            zones = [("Now", [(current, current)]), *zones]
        cast("forms.ChoiceField", self.fields["time_zone"]).choices = zones


class FallbackForm(forms.Form):
    """What happens when a key of one's own fails."""

    fallback = forms.ChoiceField(
        choices=User.Fallback.choices,
        widget=forms.RadioSelect,
        label="The call should",
        help_text="A key fails when it has expired, cannot be read, or its provider refuses it.",
    )
    fallback_cost = forms.DecimalField(
        required=False,
        min_value=LEAST,
        max_value=MOST,
        max_digits=16,
        decimal_places=2,
        label="Up to how many dollars a month",
        help_text="Needed for the last choice alone. Calls on the demo key count on your demo limits too.",
    )


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def show(request: SignedInRequest) -> HttpResponse:
    """Show the preferences and take changes of them."""
    form = PreferencesForm(request.POST or None, instance=User.objects.get(pk=request.user.pk))
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, "Your preferences are saved.")
        return redirect("settings_preferences")
    return _answer(request, form, None)


@require_POST
@signed_in
def choose(request: SignedInRequest) -> HttpResponse:
    """Take by which ways somebody wants to be told of what."""
    offered = offered_to(staff=request.user.is_staff)
    sent = set(request.POST.getlist("wanted"))
    wanted = [(kind, channel) for kind in offered for channel in Channel if name_of((kind, channel)) in sent]
    preferences.choose(request.user.pk, wanted, among=offered)
    messages.success(request, "What you are told is saved.")
    return redirect("settings_preferences")


def name_of(choice: Choice) -> str:
    """Return what a choice is called in the form."""
    return f"{choice[0]}:{choice[1]}"


def rows_of(user: User) -> list[dict[str, Any]]:
    """Return the kinds that somebody may choose about, each with its ways."""
    wanted = preferences.wanted_by(user.pk)

    def row(kind: Kind) -> dict[str, Any]:
        choices = [(kind, channel) for channel in Channel]
        return {
            "kind": kind.value,
            "about": ABOUT[kind],
            "choices": [
                ("" if one[1] in ABOUT[kind].never else name_of(one), one in wanted, CHANNELS[one[1]])
                for one in choices
            ],
        }

    return [row(kind) for kind in offered_to(staff=user.is_staff)]


@require_POST
@signed_in
def set_fallback(request: SignedInRequest) -> HttpResponse:
    """Take what is to happen when an own key fails."""
    form = FallbackForm(request.POST)
    if form.is_valid():
        given = form.cleaned_data
        try:
            fallback.consent(
                actor=request.user, choice=given["fallback"], cost=given["fallback_cost"], now=timezone.now()
            )
        except InvalidRequest as problem:
            form.add_error(problem.data.get("field"), problem.message)
        else:
            messages.success(request, "Saved. It holds from the next call on.")
            return redirect("settings_preferences")
    return _answer(request, None, form)


def _answer(request: SignedInRequest, form: PreferencesForm | None, falling: FallbackForm | None) -> HttpResponse:
    user = User.objects.get(pk=request.user.pk)
    wrong = any(one is not None and one.errors for one in (form, falling))
    now = {"fallback": user.fallback, "fallback_cost": fallback.amount_of(user)}
    context = {
        "form": form or PreferencesForm(instance=user),
        "fallback_form": falling or FallbackForm(initial=now),
        "channels": CHANNELS,
        "kinds": rows_of(user),
    }
    return page(request, "settings/preferences.html", context, status=422 if wrong else 200)
