"""/api/v1/quotas/raises/: ask for more than a limit allows, and see what became of it."""

from typing import Any
from uuid import UUID

from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from digitalme.api.resource import Money, Resource
from quotas import raises
from quotas.limits import MOST_COUNTED
from quotas.models import LimitType, Raise
from quotas.raises import Amounts


class AmountsSerializer(serializers.Serializer[Any]):
    """How much more, on top of what the limit allows in each of its periods."""

    requests = serializers.IntegerField(min_value=1, max_value=MOST_COUNTED, required=False, allow_null=True)
    tokens = serializers.IntegerField(min_value=1, max_value=MOST_COUNTED, required=False, allow_null=True)
    cost = Money(required=False, allow_null=True, help_text="US dollars.")


class RaiseSerializer(serializers.ModelSerializer[Raise]):
    """A request for more, and what became of it."""

    provider = serializers.CharField(allow_null=True, help_text="null: all providers together.")
    asked = serializers.SerializerMethodField(help_text="What was asked for; null if staff granted it unasked.")
    granted = serializers.SerializerMethodField(help_text="What counts, or counted; null if nothing was granted.")
    state = serializers.SerializerMethodField(help_text="One of asked, granted, refused, withdrawn, ended.")

    class Meta:
        model = Raise
        fields = (
            "id",
            "type",
            "provider",
            "state",
            "asked",
            "asked_until",
            "why",
            "granted",
            "starts_at",
            "ends_at",
            "answer",
            "answered_at",
            "created_at",
        )
        read_only_fields = fields

    def to_representation(self, instance: Raise) -> dict[str, Any]:
        """Tell of no single provider by null, as quotas do."""
        told = super().to_representation(instance)
        return {**told, "provider": instance.provider or None}

    def get_state(self, one: Raise) -> str:
        """The state at this moment."""
        over = one.state == Raise.State.GRANTED and one.ends_at is not None and one.ends_at <= timezone.now()
        return Raise.State.ENDED.value if over else str(one.state)

    @extend_schema_field(AmountsSerializer(allow_null=True))
    def get_asked(self, one: Raise) -> dict[str, Any] | None:
        """What was asked for."""
        return _amounts(one, "asked")

    @extend_schema_field(AmountsSerializer(allow_null=True))
    def get_granted(self, one: Raise) -> dict[str, Any] | None:
        """What was granted."""
        return _amounts(one, "extra")


def _amounts(one: Raise, prefix: str) -> dict[str, Any] | None:
    found = {name: getattr(one, f"{prefix}_{name}") for name in ("requests", "tokens", "cost")}
    return dict(AmountsSerializer(found).data) if any(value is not None for value in found.values()) else None


class RaiseInput(AmountsSerializer):
    """What is asked for."""

    type = serializers.ChoiceField(choices=LimitType.choices)
    provider = serializers.CharField(
        max_length=64, required=False, allow_blank=True, allow_null=True, default="", help_text="Empty: all together."
    )
    until = serializers.DateField(help_text="The last day, in your time zone.")
    why = serializers.CharField(max_length=500)


class Raises(Resource):
    """All that the caller asked for."""

    @extend_schema(operation_id="raises_list", responses=RaiseSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List requests for more and raises, newest first."""
        return Response(RaiseSerializer(raises.raises_of(self.user)[:100], many=True).data)

    @extend_schema(operation_id="raises_create", request=RaiseInput, responses={201: RaiseSerializer})
    def post(self, request: Request) -> Response:
        """Ask for more. An administrator answers; the answer comes by mail too."""
        given = RaiseInput(data=request.data)
        given.is_valid(raise_exception=True)
        wanted = given.validated_data
        made = raises.ask(
            actor=self.user,
            type=wanted["type"],
            provider=wanted["provider"] or "",
            amounts=Amounts(wanted.get("requests"), wanted.get("tokens"), wanted.get("cost")),
            until=wanted["until"],
            why=wanted["why"],
            now=timezone.now(),
        )
        return Response(RaiseSerializer(made).data, status=status.HTTP_201_CREATED)


class OneRaise(Resource):
    """One request of the caller's."""

    @extend_schema(operation_id="raises_withdraw", responses={204: None})
    def delete(self, request: Request, raise_id: UUID) -> Response:
        """Withdraw a request that is not answered yet."""
        raises.withdraw(actor=self.user, raise_id=raise_id)
        return Response(status=status.HTTP_204_NO_CONTENT)
