"""/settings/usage/exports/ and /settings/usage/export/: calls as a file."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django import forms
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, resolve_url
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_POST, require_safe

from digitalme import downloads
from digitalme.accounts import teams, tokens
from digitalme.accounts.models import Team, User
from digitalme.errors import InvalidRequest
from digitalme.web.access import SignedInRequest, page, signed_in
from providers import registry
from usage import exports, large_exports, retention
from usage.exports import Format, Selection
from usage.models import UsageRecord

TEMPLATE = "settings/exports.html"
_KEYS = [
    ("", "any"),
    ("user", "my own"),
    ("team", "a team's"),
    ("system", "the house's"),
    ("fallback", "the house's, in place of my own"),
]


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
    def team(self) -> Team | None:
        """The team whose keys' calls are asked for; None for the person's own calls."""
        return self.managed.get(self.cleaned_data.get("whose", ""))

    @property
    def selection(self) -> Selection:
        """Return the records that are asked for."""
        given, last, team = self.cleaned_data, self.cleaned_data["to"], self.team
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
    """Show the form with all filters, and the exports that workers make or made."""
    return _answer(request, fragment="made")


def _answer(request: SignedInRequest, form: ExportForm | None = None, fragment: str = "") -> HttpResponse:
    made = list(large_exports.of(request.user))
    context = {
        "form": form or ExportForm(user=request.user),
        "exports": made,
        "kept": retention.sentence(),
        "running": any(one.state in large_exports.OPEN for one in made),
    }
    return page(request, TEMPLATE, context, fragment=fragment, status=422 if form else 200)


@require_safe
@signed_in
def download(request: SignedInRequest) -> HttpResponseBase:
    """Send the file."""
    form = ExportForm({"format": Format.CSV.value, **request.GET.dict()}, user=request.user)
    if not form.is_valid():
        return _answer(request, form)
    wanted = Format(form.cleaned_data["format"])
    return downloads.answer(
        request,
        exports.stream(form.selection, wanted),
        media_type=wanted.media_type,
        name=f"digitalme-usage.{wanted.value}",
    )


@require_POST
@signed_in
def start(request: SignedInRequest) -> HttpResponse:
    """Lead to the file that the form asks for: its address can be kept and has no token of the form in it."""
    form = ExportForm(request.POST, user=request.user)
    if not form.is_valid():
        return _answer(request, form)
    asked = {name: request.POST[name] for name in form.fields if request.POST.get(name)}
    return redirect(f"{resolve_url('settings_export_file')}?{urlencode(asked)}")


@require_POST
@signed_in
def ask(request: SignedInRequest) -> HttpResponse:
    """Have a worker make the file."""
    form = ExportForm(request.POST, user=request.user)
    if form.is_valid():
        try:
            large_exports.ask(
                actor=request.user,
                team=form.team,
                wanted=form.selection,
                form=Format(form.cleaned_data["format"]),
                now=timezone.now(),
            )
        except InvalidRequest as problem:
            form.add_error(None, problem.message)
        else:
            return redirect(f"{resolve_url('settings_exports')}#made")
    return _answer(request, form)


@require_safe
@signed_in
def fetch(request: SignedInRequest, export_id: UUID) -> HttpResponseBase:
    """Send a file that a worker made. Raises NotFound, and SecurityViolation for who no longer looks after the team."""
    export, content = large_exports.ready(request.user, export_id, now=timezone.now())
    form = Format(export.format)
    return downloads.answer(request, content, media_type=form.media_type, name=f"digitalme-usage.{form.value}")


@require_POST
@signed_in
def remove(request: SignedInRequest, export_id: UUID) -> HttpResponse:
    """Delete an export, or stop its making."""
    large_exports.remove(large_exports.find(request.user, export_id))
    return redirect(f"{resolve_url('settings_exports')}#made")
