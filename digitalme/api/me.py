"""/api/v1/me/: the caller."""

from typing import Any

from django.db import transaction
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from digitalme.accounts import roles
from digitalme.accounts.models import User
from digitalme.api.resource import Money, Resource
from quotas import fallback


class MeSerializer(serializers.ModelSerializer[User]):
    """The caller; some things are theirs to change."""

    fallback = serializers.ChoiceField(
        choices=User.Fallback.choices,
        required=False,
        help_text="When a key of yours fails: stop; ask, so that only calls with X-DigitalMe-Fallback: demo use the "
        "demo key; or demo, up to fallback_cost. Send it together with that.",
    )
    fallback_cost = serializers.SerializerMethodField(help_text="US dollars a month, with fallback demo; else null.")
    role = serializers.SerializerMethodField()
    tier = serializers.SerializerMethodField(help_text="null: the default one.")

    class Meta:
        model = User
        fields = (
            "id",
            "email",
            "name",
            "time_zone",
            "theme",
            "fallback",
            "fallback_cost",
            "role",
            "tier",
            "date_joined",
        )
        read_only_fields = ("id", "email", "date_joined")

    @extend_schema_field(Money(allow_null=True))
    def get_fallback_cost(self, user: User) -> str | None:
        """Up to how much the demo key steps in."""
        cost = fallback.amount_of(user) if user.fallback == User.Fallback.DEMO else None
        return None if cost is None else f"{cost:.9f}"

    def get_role(self, user: User) -> str:
        """One of user, support, admin, super_admin."""
        return roles.role_of(user).value

    def get_tier(self, user: User) -> str | None:
        """The slug of the user's tier."""
        return user.tier.slug if user.tier else None


class FallbackInput(serializers.Serializer[Any]):
    """How much of the house's money may be used in the place of own keys."""

    fallback_cost = Money(required=False, allow_null=True)


class Me(Resource):
    """The caller."""

    @extend_schema(operation_id="me_retrieve", responses=MeSerializer)
    def get(self, request: Request) -> Response:
        """Tell who is calling."""
        return Response(MeSerializer(self.user).data)

    @extend_schema(operation_id="me_update", request=MeSerializer(partial=True), responses=MeSerializer)
    def patch(self, request: Request) -> Response:
        """Change name, time zone, theme or fallback; anything else that is sent is ignored."""
        given = MeSerializer(self.user, data=request.data, partial=True)
        given.is_valid(raise_exception=True)
        agreed = FallbackInput(data=request.data)
        agreed.is_valid(raise_exception=True)
        choice = given.validated_data.pop("fallback", None)
        with transaction.atomic():
            given.save()
            if choice is not None:
                cost = agreed.validated_data.get("fallback_cost")
                fallback.consent(actor=self.user, choice=choice, cost=cost, now=timezone.now())
        return Response(MeSerializer(self.user).data)
