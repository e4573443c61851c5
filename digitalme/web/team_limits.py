"""/settings/team/<team>/limits/: what those who look after a team bound themselves."""

from django.http import HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_POST

from digitalme.accounts import teams
from digitalme.errors import InvalidRequest
from digitalme.web import team
from digitalme.web.access import SignedInRequest, signed_in
from digitalme.web.pools import TeamLimitForm
from quotas import pools


@require_POST
@signed_in
def put(request: SignedInRequest, team_slug: str) -> HttpResponse:
    """Set a cap per member, or a budget for calls on the team's keys."""
    place, form = teams.managed_place_of(request.user, team_slug), TeamLimitForm(request.POST)
    if not form.is_valid():
        return team.one(request, place, limiting=form)
    try:
        form.put(request.user, place.team, timezone.now())
    except InvalidRequest as problem:
        form.add_error(None, problem.message)
        return team.one(request, place, limiting=form)
    return team.back(request, team_slug, "It is set, and holds from the next call on.")


@require_POST
@signed_in
def remove(request: SignedInRequest, team_slug: str, limit_id: int) -> HttpResponse:
    """Remove a cap or a budget."""
    place = teams.managed_place_of(request.user, team_slug)
    pools.remove(actor=request.user, team=place.team, limit_id=limit_id, now=timezone.now())
    return team.back(request, team_slug, "It is removed.")
