"""A team's pool, its members' draws and its own budgets at /api/v1/teams/<team>/limits/."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from digitalme.accounts import teams
from digitalme.accounts.models import Membership
from digitalme.accounts.teams import MANAGERS
from digitalme.api.caps import CapInput, CapSerializer
from digitalme.api.quotas import QuotaSerializer
from digitalme.api.resource import Resource
from quotas import pools
from quotas.caps import Cap
from quotas.models import Limit, LimitType


class TeamLimitSerializer(CapSerializer):
    """A budget for the team's keys or, `per_member`, what each member may draw from the pool."""

    class Meta:
        model = Limit
        fields = (*CapSerializer.Meta.fields, "per_member")


class TeamLimitInput(CapInput):
    """What is bounded; it takes the place of the limit of this type and provider."""

    type = serializers.ChoiceField(
        choices=LimitType.choices,
        help_text="Of budgets for the team's keys a budget's type; per member daily or monthly.",
    )
    per_member = serializers.BooleanField(
        default=False, help_text="Bound what each member draws from the pool, not what the team's keys spend."
    )


class MemberStandingSerializer(serializers.Serializer[Any]):
    """What a member drew from the pool, held against the caps per member."""

    id = serializers.UUIDField()
    email = serializers.EmailField()
    limits = QuotaSerializer(many=True)


class TeamStandingSerializer(serializers.Serializer[Any]):
    """How a team's limits stand. Who is no owner or admin sees only the own draws, and nothing under `set`."""

    limits = QuotaSerializer(many=True, help_text="The pool (daily, monthly), and budgets for the team's keys.")
    members = MemberStandingSerializer(many=True)
    set = TeamLimitSerializer(many=True, help_text="What the team's owner and admins set.")


class TeamLimits(Resource):
    """What bounds a team."""

    def _told(self, place: Membership) -> dict[str, Any]:
        everybody, manages = teams.members_of(place.team), place.role in MANAGERS
        found = pools.standings(place.team, everybody, timezone.now())
        shown = [one for one in everybody if manages or one.user_id == self.user.pk]
        members = [{"id": one.user_id, "email": one.user.email, "limits": found[one.user_id]} for one in shown]
        told = {"limits": found[place.team_id], "members": members, "set": pools.set_by(place.team) if manages else []}
        return dict(TeamStandingSerializer(told).data)

    @extend_schema(operation_id="team_limits_retrieve", responses=TeamStandingSerializer)
    def get(self, request: Request, team: str) -> Response:
        """Tell how the pool, the budgets and the members' draws stand."""
        return Response(self._told(teams.place_of(self.user, team)))

    @extend_schema(operation_id="team_limits_set", request=TeamLimitInput, responses={201: TeamLimitSerializer})
    def post(self, request: Request, team: str) -> Response:
        """Set a budget or a cap per member, as the team's owner or admin. It holds at once. The pool is the house's
        to grant."""
        place = teams.managed_place_of(self.user, team)
        given = TeamLimitInput(data=request.data)
        given.is_valid(raise_exception=True)
        values = dict(given.validated_data)
        where = {name: values.pop(name) for name in ("type", "provider", "per_member")}
        made = pools.put(actor=self.user, team=place.team, cap=Cap(**values), now=timezone.now(), **where)
        return Response(TeamLimitSerializer(made).data, status=status.HTTP_201_CREATED)


class TeamLimit(Resource):
    """One budget or cap of a team."""

    @extend_schema(operation_id="team_limits_remove", responses={204: None})
    def delete(self, request: Request, team: str, limit_id: int) -> Response:
        """Remove it, as the team's owner or admin."""
        place = teams.managed_place_of(self.user, team)
        pools.remove(actor=self.user, team=place.team, limit_id=limit_id, now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)
