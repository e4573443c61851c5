"""/api/v1/quotas/gifts/: give a part of an allowance, and see what was given and received."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from digitalme.api.caps import check_uncapped
from digitalme.api.raises import AmountsSerializer
from digitalme.api.resource import Money, Resource
from quotas import gifts
from quotas.models import Gift, LimitType
from quotas.raises import Amounts


class GiftSerializer(serializers.ModelSerializer[Gift]):
    """What somebody gave to a person or to the pool of a team."""

    giver = serializers.EmailField(source="giver.email")
    receiver = serializers.EmailField(source="receiver.email", allow_null=True, default=None)
    team = serializers.CharField(source="team.slug", allow_null=True, default=None)
    cost = Money(allow_null=True)

    class Meta:
        model = Gift
        fields = (
            "id",
            "giver",
            "receiver",
            "team",
            "type",
            "provider",
            "requests",
            "tokens",
            "cost",
            "created_at",
            "ends_at",
        )
        read_only_fields = fields


class GiftInput(AmountsSerializer):
    """What is given to whom: name a person of one of your teams, or one of your teams."""

    type = serializers.ChoiceField(choices=LimitType.choices, help_text="daily or monthly.")
    provider = serializers.CharField(
        max_length=64, required=False, allow_blank=True, allow_null=True, default="", help_text="Empty: all together."
    )
    receiver = serializers.EmailField(max_length=254, required=False, default="")
    team = serializers.SlugField(required=False, default="")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Ask for exactly one receiver."""
        if bool(attrs["receiver"]) == bool(attrs["team"]):
            raise serializers.ValidationError("Name a receiver or a team.")
        return attrs


class Gifts(Resource):
    """All gifts that concern the caller."""

    @extend_schema(operation_id="gifts_list", responses=GiftSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List what the caller gave and received, and what the caller's teams received, newest first."""
        return Response(GiftSerializer(gifts.gifts_of(self.user)[:100], many=True).data)

    @extend_schema(operation_id="gifts_give", request=GiftInput, responses={201: GiftSerializer})
    def post(self, request: Request) -> Response:
        """Give a part of what is left of a daily or monthly allowance in this period. It holds at once and is final."""
        check_uncapped(request)
        given = GiftInput(data=request.data)
        given.is_valid(raise_exception=True)
        wanted = given.validated_data
        made = gifts.give(
            actor=self.user,
            to=gifts.receiver_of(self.user, email=wanted["receiver"], team=wanted["team"]),
            type=wanted["type"],
            provider=wanted["provider"] or "",
            amounts=Amounts(wanted.get("requests"), wanted.get("tokens"), wanted.get("cost")),
            now=timezone.now(),
        )
        return Response(GiftSerializer(made).data, status=status.HTTP_201_CREATED)
