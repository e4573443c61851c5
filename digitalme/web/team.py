"""/settings/team/: the teams of a person; /settings/team/<team>/: one of them, and what may be done about it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID
from zoneinfo import ZoneInfo

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apikeys import grants, keys, oauth
from apikeys.models import Consent, Credential
from digitalme.accounts import invitations, security, teams
from digitalme.accounts.models import Membership
from digitalme.accounts.teams import MANAGERS, Role
from digitalme.errors import DigitalMeError, InvalidRequest, NotFound
from digitalme.web import charts, pools, provider_cards, report_charts, reports
from digitalme.web.access import SignedInRequest, page, signed_in
from digitalme.web.provider_cards import Chip
from providers import registry
from providers.registry import Provider
from usage import analytics
from usage.reading import Wanted
from usage.rollups import day_bounds

USAGE_DAYS = 30
LIST, ONE = "settings/team.html", "settings/team_one.html"


class NameForm(forms.Form):
    """What a team is called."""

    name = forms.CharField(max_length=teams.MAX_NAME, help_text="Whoever you invite reads it.")


class InviteForm(forms.Form):
    """Who is asked in. Only the owner is offered a choice of roles."""

    email = forms.EmailField(label="E-mail address", max_length=254)
    role = forms.ChoiceField(
        choices=[(Role.MEMBER.value, "Member"), (Role.ADMIN.value, "Admin")],
        initial=Role.MEMBER.value,
        label="As",
        required=False,
        help_text="Members use what the team shares. Admins also look after its keys, members and invitations.",
    )

    def __init__(self, data: Any = None, *, role: str) -> None:
        super().__init__(data, auto_id="invite-%s")
        if role != Role.OWNER:
            del self.fields["role"]


@dataclass(frozen=True, slots=True)
class SharedKey:
    """A key of a team as its page shows it."""

    provider: Provider
    credential: Credential
    chip: Chip
    connectable: bool = False
    consent: Consent | None = None

    @property
    def query(self) -> str:
        """What tells it from others of the same provider."""
        return f"&label={self.credential.label}" if self.credential.label else ""


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def show(request: SignedInRequest) -> HttpResponse:
    """Show a person's teams; a name that comes back makes one more."""
    form = NameForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = teams.create(actor=request.user, name=form.cleaned_data["name"])
        except InvalidRequest as problem:
            form.add_error("name", problem.message)
        else:
            messages.success(request, f"The team “{made.name}” is made. Invite people, or add a key for all of them.")
            return redirect("settings_team_one", team=made.slug)
    places = list(teams.memberships_of(request.user))
    sizes = teams.sizes([place.team for place in places])
    rows = [(place, sizes.get(place.team_id, 1)) for place in places]
    return page(request, LIST, {"rows": rows, "form": form}, status=422 if form.errors else 200)


@require_safe
@signed_in
def show_one(request: SignedInRequest, team: str) -> HttpResponse:
    """Show one team; `ask` opens a question or a form on the page."""
    return one(request, teams.place_of(request.user, team))


@require_POST
@signed_in
def rename(request: SignedInRequest, team: str) -> HttpResponse:
    """Give the team another name."""
    place, form = teams.managed_place_of(request.user, team), NameForm(request.POST)
    if not form.is_valid():
        return one(request, place, naming=form)
    try:
        teams.rename(actor=request.user, team=place.team, name=form.cleaned_data["name"])
    except InvalidRequest as problem:
        form.add_error("name", problem.message)
        return one(request, place, naming=form)
    return back(request, team, "The team has its new name.")


@require_POST
@signed_in
def leave(request: SignedInRequest, team: str) -> HttpResponse:
    """Leave the team."""
    place = teams.place_of(request.user, team)
    try:
        teams.leave(actor=request.user, team=place.team)
    except InvalidRequest as problem:
        return back(request, team, problem.message, bad=True)
    messages.success(request, f"You left the team “{place.team.name}”.")
    return redirect("settings_team")


@require_POST
@signed_in
def dissolve(request: SignedInRequest, team: str) -> HttpResponse:
    """End the team for good, once its name was typed and the password lately."""
    place = teams.place_of(request.user, team)
    security.require_confirmation(request)
    try:
        with grants.given_back(keys.keys_of_team(place.team_id), actor=request.user):
            teams.dissolve(actor=request.user, team=place.team, confirmed=request.POST.get("confirmed", ""))
    except InvalidRequest as problem:
        return one(request, place, ask="dissolve", problem=problem.message)
    messages.success(request, f"The team “{place.team.name}” is dissolved.")
    return redirect("settings_team")


@require_POST
@signed_in
def invite(request: SignedInRequest, team: str) -> HttpResponse:
    """Send an invitation."""
    place = teams.managed_place_of(request.user, team)
    form = InviteForm(request.POST, role=place.role)
    if not form.is_valid():
        return one(request, place, inviting=form)
    try:
        invited = invitations.invite(
            actor=request.user,
            team=place.team,
            email=form.cleaned_data["email"],
            role=form.cleaned_data.get("role") or Role.MEMBER.value,
            now=timezone.now(),
        )
    except DigitalMeError as problem:
        form.add_error("email", problem.message)
        return one(request, place, inviting=form)
    return back(request, team, f"An invitation is on its way to {invited.email}. It can be accepted for a week.")


@require_POST
@signed_in
def withdraw(request: SignedInRequest, team: str, invitation_id: UUID) -> HttpResponse:
    """Take an invitation back."""
    place = teams.managed_place_of(request.user, team)
    invitations.withdraw(actor=request.user, team=place.team, invitation_id=invitation_id)
    return back(request, team, "The invitation is withdrawn: its link works no more.")


@require_POST
@signed_in
def change_role(request: SignedInRequest, team: str, user_id: UUID) -> HttpResponse:
    """Make a member an admin, or an admin a member."""
    place = teams.place_of(request.user, team)
    teams.change_role(actor=request.user, team=place.team, user_id=user_id, role=request.POST.get("role", ""))
    return back(request, team, "The role is changed.")


@require_POST
@signed_in
def remove_member(request: SignedInRequest, team: str, user_id: UUID) -> HttpResponse:
    """Take somebody out of the team."""
    place = teams.managed_place_of(request.user, team)
    teams.remove_member(actor=request.user, team=place.team, user_id=user_id)
    return back(request, team, "They do not belong to the team any more. Their calls on its keys end within seconds.")


@require_POST
@signed_in
def hand_over(request: SignedInRequest, team: str, user_id: UUID) -> HttpResponse:
    """Make another member the owner, once the password was typed lately."""
    place = teams.place_of(request.user, team)
    security.require_confirmation(request)
    teams.hand_over(actor=request.user, team=place.team, user_id=user_id)
    return back(request, team, "The team has a new owner. You are one of its admins now.")


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def invitation(request: SignedInRequest, token: str) -> HttpResponse:
    """Ask whether an invitation is accepted, and take the answer."""
    now = timezone.now()
    try:
        if request.method != "POST":
            found = invitations.find(request.user, token, now=now)
            return page(request, "settings/team_invitation.html", {"invitation": found, "token": token})
        if request.POST.get("answer") == "decline":
            declined = invitations.decline(actor=request.user, token=token, now=now)
            messages.success(request, f"You declined the invitation to “{declined.name}”.")
            return redirect("settings_team")
        joined = invitations.accept(actor=request.user, token=token, now=now)
    except NotFound as problem:
        return page(request, "settings/team_invitation.html", {"problem": problem.message}, status=404)
    messages.success(request, f"You belong to the team “{joined.name}” now.")
    return redirect("settings_team_one", team=joined.slug)


def back(request: SignedInRequest, team: str, sentence: str, *, bad: bool = False) -> HttpResponse:
    """Return to the team's page with a sentence on it."""
    messages.add_message(request, messages.ERROR if bad else messages.SUCCESS, sentence)
    return redirect("settings_team_one", team=team)


def one(request: SignedInRequest, place: Membership, *, ask: str = "", **more: Any) -> HttpResponse:
    """Answer with a team's page."""
    team, now = place.team, timezone.now()
    manages = place.role in MANAGERS
    shared, members = _shared(place), teams.members_of(team)
    taken = {one.provider.slug for one in shared}
    context = {
        "team": team,
        "place": place,
        "manages": manages,
        "owns": place.role == Role.OWNER,
        "members": members,
        **pools.context_of(place, members, now),
        "usage": _usage(place, now) if manages else None,
        "invitations": list(invitations.open_invitations(team, now)) if manages else [],
        "shared": shared,
        "addable": [
            one for one in registry.all_providers() if one.needs_key and (one.slug not in taken or one.manifest.several)
        ],
        "connectable": {one.slug for one in registry.all_providers() if oauth.connectable(one, _owner(place))},
        "inviting": InviteForm(role=place.role),
        "naming": NameForm(initial={"name": team.name}),
        "ask": ask or request.GET.get("ask", ""),
        "of": request.GET.get("of", ""),
        "label": request.GET.get("label", ""),
        **more,
    }
    forms_shown = (more.get(name) for name in ("naming", "inviting", "limiting", "key_form"))
    wrong = "problem" in more or any(form is not None and form.errors for form in forms_shown)
    return page(cast("Any", request), ONE, context, fragment="team", status=422 if wrong else 200)


def _usage(place: Membership, now: datetime) -> dict[str, Any]:
    """Return what members used and spent on the team's keys in the last 30 days."""
    zone = place.user.time_zone
    today = now.astimezone(ZoneInfo(zone)).date()
    first = today - timedelta(days=USAGE_DAYS - 1)
    wanted = Wanted(analytics.of_team(place.team), day_bounds(first, zone)[0], now)
    found = analytics.report(wanted, zone=zone, now=now)
    return {
        "report": found,
        "changes": reports.changes_of(found),
        "charts": report_charts.charts_of(found, charts.days(first, USAGE_DAYS), reports.provider_names()),
        "people": reports.people(found.by["user"]),
        "models": [reports.Row(one or "no model", sums) for one, sums in found.by["model"].items()],
    }


def _owner(place: Membership) -> keys.Owner:
    return keys.Owner("team", place.team_id)


def _shared(place: Membership) -> list[SharedKey]:
    """Return a team's keys, each with the word that says how it stands."""
    held = [one for one in keys.keys_of_team(place.team_id) if _known(one.provider)]
    consents = oauth.consents_of(keys.keys_of_team(place.team_id)) if held else {}
    found = []
    for one in held:
        provider = registry.get(one.provider)
        chip, connectable = provider_cards.own_chip(provider, one), oauth.connectable(provider, _owner(place))
        found.append(SharedKey(provider, one, chip, connectable, consents.get(one.pk)))
    return found


def _known(slug: str) -> bool:
    return any(provider.slug == slug for provider in registry.all_providers())
