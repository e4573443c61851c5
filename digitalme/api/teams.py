"""/api/v1/teams/: the caller's teams, their members and invitations; /api/v1/invitations/: an answer to one."""

from typing import Any
from uuid import UUID

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from apikeys import grants, keys
from digitalme.accounts import invitations, teams
from digitalme.accounts.models import Invitation, Membership
from digitalme.accounts.teams import Role
from digitalme.api.resource import Resource


class TeamSerializer(serializers.ModelSerializer[Membership]):
    """A team and the caller's role in it."""

    slug = serializers.CharField(source="team.slug", help_text="Made by the server; it stays when the name changes.")
    name = serializers.CharField(source="team.name")
    created_at = serializers.DateTimeField(source="team.created_at")
    members = serializers.SerializerMethodField(help_text="How many people belong to it.")

    class Meta:
        model = Membership
        fields = ("slug", "name", "role", "members", "created_at", "joined_at")
        read_only_fields = fields

    def get_members(self, place: Membership) -> int:
        """The number of members."""
        sizes: dict[UUID, int] = self.context["sizes"]
        return sizes.get(place.team_id, 0)


class TeamInput(serializers.Serializer[Any]):
    """What a team is called."""

    name = serializers.CharField(max_length=teams.MAX_NAME)


class Dissolution(serializers.Serializer[Any]):
    """A confirmation: with the team its keys, invitations and everybody's access to them are lost."""

    confirmed = serializers.CharField(max_length=teams.MAX_NAME, help_text="The name of the team.")


class MemberSerializer(serializers.ModelSerializer[Membership]):
    """Somebody in a team."""

    id = serializers.UUIDField(source="user.id")
    name = serializers.CharField(source="user.name")
    email = serializers.EmailField(source="user.email")
    is_active = serializers.BooleanField(source="user.is_active", help_text="false: the account is disabled.")

    class Meta:
        model = Membership
        fields = ("id", "name", "email", "role", "joined_at", "is_active")
        read_only_fields = fields


class RoleInput(serializers.Serializer[Any]):
    """What a member is to be."""

    role = serializers.ChoiceField(
        choices=Role.choices, help_text="owner hands the team over: the one before becomes an admin."
    )


class InvitationSerializer(serializers.ModelSerializer[Invitation]):
    """An open invitation into a team."""

    class Meta:
        model = Invitation
        fields = ("id", "email", "role", "created_at", "expires_at")
        read_only_fields = fields


class InvitationInput(serializers.Serializer[Any]):
    """Who is asked in."""

    email = serializers.EmailField(max_length=254)
    role = serializers.ChoiceField(
        choices=Role.choices, default=Role.MEMBER.value, help_text="member or admin; nobody is invited as the owner."
    )


class OfferSerializer(serializers.ModelSerializer[Invitation]):
    """An invitation as the invited person sees it."""

    team = serializers.CharField(source="team.name")

    class Meta:
        model = Invitation
        fields = ("team", "role", "expires_at")
        read_only_fields = fields


class _TeamResource(Resource):
    def _place(self, slug: str) -> Membership:
        return teams.place_of(self.user, slug)

    def _told(self, place: Membership) -> Response:
        return Response(TeamSerializer(place, context={"sizes": teams.sizes([place.team])}).data)


class Teams(Resource):
    """All of the caller's teams."""

    @extend_schema(operation_id="teams_list", responses=TeamSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List the teams that the caller belongs to."""
        places = list(teams.memberships_of(self.user))
        sizes = teams.sizes([place.team for place in places])
        return Response(TeamSerializer(places, many=True, context={"sizes": sizes}).data)

    @extend_schema(operation_id="teams_create", request=TeamInput, responses={201: TeamSerializer})
    def post(self, request: Request) -> Response:
        """Make a team that the caller owns."""
        given = TeamInput(data=request.data)
        given.is_valid(raise_exception=True)
        made = teams.create(actor=self.user, name=given.validated_data["name"])
        place = teams.place_of(self.user, made.slug)
        told = TeamSerializer(place, context={"sizes": teams.sizes([made])}).data
        return Response(told, status=status.HTTP_201_CREATED)


class OneTeam(_TeamResource):
    """One of the caller's teams."""

    @extend_schema(operation_id="teams_retrieve", responses=TeamSerializer)
    def get(self, request: Request, team: str) -> Response:
        """Tell about a team."""
        return self._told(self._place(team))

    @extend_schema(operation_id="teams_rename", request=TeamInput, responses=TeamSerializer)
    def patch(self, request: Request, team: str) -> Response:
        """Give a team another name: its owner and admins may."""
        place = self._place(team)
        given = TeamInput(data=request.data)
        given.is_valid(raise_exception=True)
        teams.rename(actor=self.user, team=place.team, name=given.validated_data["name"])
        return self._told(self._place(team))

    @extend_schema(operation_id="teams_dissolve", parameters=[Dissolution], responses={204: None})
    def delete(self, request: Request, team: str) -> Response:
        """Dissolve a team for good: its owner may, who names it in `confirmed`."""
        place = self._place(team)
        given = Dissolution(data=request.query_params)
        given.is_valid(raise_exception=True)
        with grants.given_back(keys.keys_of_team(place.team_id), actor=self.user):
            teams.dissolve(actor=self.user, team=place.team, confirmed=given.validated_data["confirmed"])
        return Response(status=status.HTTP_204_NO_CONTENT)


class Members(_TeamResource):
    """The people in a team."""

    @extend_schema(operation_id="team_members_list", responses=MemberSerializer(many=True))
    def get(self, request: Request, team: str) -> Response:
        """List who belongs to the team, from its owner on."""
        return Response(MemberSerializer(teams.members_of(self._place(team).team), many=True).data)


class Member(_TeamResource):
    """One of the people in a team."""

    @extend_schema(operation_id="team_members_change", request=RoleInput, responses=MemberSerializer(many=True))
    def patch(self, request: Request, team: str, user_id: UUID) -> Response:
        """Give a member another role, or hand the team over: its owner may. All members are told as they are then."""
        place = self._place(team)
        given = RoleInput(data=request.data)
        given.is_valid(raise_exception=True)
        role = given.validated_data["role"]
        if role == Role.OWNER:
            teams.hand_over(actor=self.user, team=place.team, user_id=user_id)
        else:
            teams.change_role(actor=self.user, team=place.team, user_id=user_id, role=role)
        return Response(MemberSerializer(teams.members_of(place.team), many=True).data)

    @extend_schema(operation_id="team_members_remove", responses={204: None})
    def delete(self, request: Request, team: str, user_id: UUID) -> Response:
        """Take a member out of the team; with the caller's own id: leave it."""
        place = self._place(team)
        if user_id == self.user.pk:
            teams.leave(actor=self.user, team=place.team)
        else:
            teams.remove_member(actor=self.user, team=place.team, user_id=user_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class Invitations(_TeamResource):
    """The open invitations into a team."""

    @extend_schema(operation_id="team_invitations_list", responses=InvitationSerializer(many=True))
    def get(self, request: Request, team: str) -> Response:
        """List open invitations: the owner and admins see them."""
        place = teams.managed_place_of(self.user, team)
        found = invitations.open_invitations(place.team, timezone.now())
        return Response(InvitationSerializer(found, many=True).data)

    @extend_schema(
        operation_id="team_invitations_create", request=InvitationInput, responses={201: InvitationSerializer}
    )
    def post(self, request: Request, team: str) -> Response:
        """Ask somebody in by mail. The answer is the same whether they have an account or not."""
        place = teams.managed_place_of(self.user, team)
        given = InvitationInput(data=request.data)
        given.is_valid(raise_exception=True)
        made = invitations.invite(actor=self.user, team=place.team, now=timezone.now(), **given.validated_data)
        return Response(InvitationSerializer(made).data, status=status.HTTP_201_CREATED)


class OneInvitation(_TeamResource):
    """One invitation into a team."""

    @extend_schema(operation_id="team_invitations_withdraw", responses={204: None})
    def delete(self, request: Request, team: str, invitation_id: UUID) -> Response:
        """Withdraw an invitation: its link works no more."""
        place = teams.managed_place_of(self.user, team)
        invitations.withdraw(actor=self.user, team=place.team, invitation_id=invitation_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class Answer(Resource):
    """An invitation that the caller got, by what its link ends with."""

    @extend_schema(operation_id="invitations_retrieve", responses=OfferSerializer)
    def get(self, request: Request, token: str) -> Response:
        """Tell what the invitation is to."""
        return Response(OfferSerializer(invitations.find(self.user, token, now=timezone.now())).data)

    @extend_schema(operation_id="invitations_accept", request=None, responses=TeamSerializer)
    def post(self, request: Request, token: str) -> Response:
        """Join the team."""
        joined = invitations.accept(actor=self.user, token=token, now=timezone.now())
        place = teams.place_of(self.user, joined.slug)
        return Response(TeamSerializer(place, context={"sizes": teams.sizes([joined])}).data)

    @extend_schema(operation_id="invitations_decline", responses={204: None})
    def delete(self, request: Request, token: str) -> Response:
        """Decline."""
        invitations.decline(actor=self.user, token=token, now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)
