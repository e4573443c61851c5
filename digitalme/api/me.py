"""/api/v1/me/: the caller."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from digitalme.accounts import roles
from digitalme.accounts.models import User
from digitalme.api.resource import Resource


class MeSerializer(serializers.ModelSerializer[User]):
    """The caller; three things are theirs to change."""

    role = serializers.SerializerMethodField()
    tier = serializers.SerializerMethodField(help_text="null: the default one.")

    class Meta:
        model = User
        fields = ("id", "email", "name", "time_zone", "theme", "role", "tier", "date_joined")
        read_only_fields = ("id", "email", "date_joined")

    def get_role(self, user: User) -> str:
        """One of user, support, admin, super_admin."""
        return roles.role_of(user).value

    def get_tier(self, user: User) -> str | None:
        """The slug of the user's tier."""
        return user.tier.slug if user.tier else None


class Me(Resource):
    """The caller."""

    @extend_schema(operation_id="me_retrieve", responses=MeSerializer)
    def get(self, request: Request) -> Response:
        """Tell who is calling."""
        return Response(MeSerializer(self.user).data)

    @extend_schema(operation_id="me_update", request=MeSerializer(partial=True), responses=MeSerializer)
    def patch(self, request: Request) -> Response:
        """Change name, time zone or theme; anything else that is sent is ignored."""
        given = MeSerializer(self.user, data=request.data, partial=True)
        given.is_valid(raise_exception=True)
        given.save()
        return Response(given.data)
