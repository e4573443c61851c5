"""/settings/preferences/: time zone and theme."""

import zoneinfo
from functools import cache
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from digitalme.accounts.models import User
from digitalme.web.access import SignedInRequest, page, signed_in


@cache
def time_zones() -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the choices by region, UTC first; zones without a region are old aliases."""
    regions: dict[str, list[tuple[str, str]]] = {}
    for name in sorted(zoneinfo.available_timezones()):
        region, _, city = name.partition("/")
        if city and region not in {"Etc", "SystemV", "posix", "right"}:
            regions.setdefault(region, []).append((name, city.replace("_", " ")))
    return [("World", [("UTC", "UTC")]), *regions.items()]


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


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def show(request: SignedInRequest) -> HttpResponse:
    """Show the preferences and take changes of them."""
    form = PreferencesForm(request.POST or None, instance=User.objects.get(pk=request.user.pk))
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, "Your preferences are saved.")
        return redirect("settings_preferences")
    return page(request, "settings/preferences.html", {"form": form}, status=422 if form.errors else 200)
