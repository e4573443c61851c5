"""/settings/usage/exports/ and /settings/usage/export/: calls as a file."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django import forms
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from digitalme import downloads
from digitalme.accounts import teams, tokens
from digitalme.accounts.models import User
from digitalme.web.access import SignedInRequest, page, signed_in
from providers import registry
from usage import exports
from usage.exports import Format, Selection
from usage.models import UsageRecord

TEMPLATE = "settings/exports.html"
_KEYS = [("", "any"), ("user", "my own"), ("team", "a team's"), ("system", "the house's")]


def _day(**options: Any) -> forms.DateField:
    widget = forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    return forms.DateField(required=False, widget=widget, **options)


class ExportForm(forms.Form):
    """Which calls, as what."""

    to = _day(label="Last day", help_text="Without the two days every call is in it.")
    format = forms.ChoiceField(label="As", choices=[(form.value, form.label) for form in Format])
    whose = forms.ChoiceField(label="Whose calls", required=False)
    provider = forms.ChoiceField(label="Provider", required=False)
    model = forms.CharField(label="Model", required=False, max_length=128)
    key_source = forms.ChoiceField(label="Key", required=False, choices=_KEYS)
    status = forms.ChoiceField(label="Outcome", required=False, choices=[("", "any"), *UsageRecord.Status.choices])
    token = forms.ChoiceField(label="Access token", required=False)
    tag = forms.CharField(label="Tag", required=False, max_length=100)

    def __init__(self, data: Any = None, *, user: User) -> None:
        super().__init__(data, auto_id="export-%s")
        self.user = user
        # Python keeps the name for itself.
        self.fields = {"from": _day(label="First day"), **self.fields}
        self._choose("provider", ("", "any"), *((one.slug, one.name) for one in registry.all_providers()))
        self._choose("token", ("", "any"), *((str(one.pk), one.name) for one in tokens.tokens_of(user)))
        managed = [place.team for place in teams.memberships_of(user) if place.role in teams.MANAGERS]
        self.managed = {team.slug: team for team in managed}
        self._choose("whose", ("", "mine"), *((one.slug, f"all on the keys of {one.name}") for one in managed))

    def _choose(self, name: str, *choices: tuple[str, str]) -> None:
        field: Any = self.fields[name]
        field.choices = choices

    def clean(self) -> dict[str, Any]:
        """Refuse a span that ends before it begins."""
        given = self.cleaned_data
        if given.get("from") and given.get("to") and given["to"] < given["from"]:
            self.add_error("to", "This is before the first day.")
        return given

    @property
    def selection(self) -> Selection:
        """Return the records that are asked for."""
        given, last = self.cleaned_data, self.cleaned_data["to"]
        team = self.managed.get(given.get("whose", ""))
        return Selection(
            user_id=None if team else self.user.pk,
            team_id=team.pk if team else None,
            token_id=UUID(given["token"]) if given["token"] else None,
            start=self._midnight(given["from"]),
            end=self._midnight(last and last + timedelta(days=1)),
            **{name: given[name] for name in ("provider", "model", "key_source", "status", "tag")},
        )

    def _midnight(self, day: date | None) -> datetime | None:
        return datetime.combine(day, time(), ZoneInfo(self.user.time_zone)).astimezone(UTC) if day else None


@require_safe
@signed_in
def show(request: SignedInRequest) -> HttpResponse:
    """Show the form with all filters."""
    return page(request, TEMPLATE, {"form": ExportForm(user=request.user)})


@require_safe
@signed_in
def download(request: SignedInRequest) -> HttpResponseBase:
    """Send the file."""
    form = ExportForm({"format": Format.CSV.value, **request.GET.dict()}, user=request.user)
    if not form.is_valid():
        return page(request, TEMPLATE, {"form": form}, status=422)
    wanted = Format(form.cleaned_data["format"])
    return downloads.answer(
        request,
        exports.stream(form.selection, wanted),
        media_type=wanted.media_type,
        name=f"digitalme-usage.{wanted.value}",
    )
