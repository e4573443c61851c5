"""/api/v1/quotas/: how the caller's limits stand."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from digitalme.api.resource import Money, Resource
from quotas import adjustment, standing
from quotas.models import Binds, LimitType
from quotas.standing import QuotaStanding


class CountsSerializer(serializers.Serializer[Any]):
    """Requests or tokens."""

    allowed = serializers.IntegerField(allow_null=True)
    used = serializers.IntegerField()
    held = serializers.IntegerField()
    rollover = serializers.IntegerField(help_text="The part of `allowed` that was carried over.")
    received = serializers.IntegerField(help_text="The part of `allowed` that others gave.")
    given = serializers.IntegerField(help_text="What was given away, and is not in `allowed`.")


class SpendingSerializer(serializers.Serializer[Any]):
    """US dollars."""

    allowed = Money(allow_null=True)
    used = Money()
    held = Money()
    rollover = Money()
    received = Money()
    given = Money()


class QuotaSerializer(serializers.Serializer[Any]):
    """One limit in its current period. `used` includes `held`, what running calls may still reach; an
    `allowed` of null is unlimited."""

    type = serializers.ChoiceField(choices=LimitType.choices)
    label = serializers.CharField()  # type: ignore[assignment]
    provider = serializers.CharField(allow_null=True, help_text="null: all providers together.")
    binds = serializers.ChoiceField(choices=Binds.choices)
    resets_at = serializers.DateTimeField()
    soft = serializers.BooleanField(help_text="Warns, and refuses nothing.")
    slowed_from = serializers.IntegerField(help_text="Percent used from which calls are slowed; 100: never.")
    emergency_uses_left = serializers.IntegerField(help_text="Critical calls that may go beyond it in this period.")
    requests = CountsSerializer()
    tokens = CountsSerializer()
    cost = SpendingSerializer()

    def to_representation(self, instance: QuotaStanding) -> dict[str, Any]:
        """Gather what belongs to one dimension."""
        return super().to_representation(_gathered(instance))


def _gathered(one: QuotaStanding) -> dict[str, Any]:
    kinds = ("allowed", "used", "held", "rollover", "received", "given")
    dimensions = {
        name: {kind: getattr(one, f"{kind}_{name}") for kind in kinds} for name in ("requests", "tokens", "cost")
    }
    facts = {
        name: getattr(one, name)
        for name in ("type", "label", "binds", "resets_at", "soft", "slowed_from", "emergency_uses_left")
    }
    return {**facts, "provider": one.provider or None, **dimensions}


class Quotas(Resource):
    """All of the caller's limits."""

    @extend_schema(operation_id="quotas_list", responses=QuotaSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List the limits that bind the caller's calls."""
        return Response(QuotaSerializer(standing.standings(self.user, timezone.now()), many=True).data)


class AdjustmentSerializer(serializers.Serializer[Any]):
    """Which share of the tier's allowance on the house's keys the caller gets, and why."""

    percent = serializers.IntegerField()
    reasons = serializers.ListField(child=serializers.CharField())


class Adjusted(Resource):
    """Why the caller's limits are what they are."""

    @extend_schema(operation_id="quotas_adjustment", responses=AdjustmentSerializer)
    def get(self, request: Request) -> Response:
        """Tell the caller's share of the tier's allowance, and why it is that."""
        percent, reasons = adjustment.explained(self.user)
        return Response({"percent": percent, "reasons": list(reasons)})
