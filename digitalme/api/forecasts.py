"""/api/v1/usage/forecast/: what the running month and limits come to."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from digitalme.api.resource import Resource
from digitalme.forecasts import reading
from digitalme.forecasts.models import Forecast
from quotas.models import LimitType


class ForecastSerializer(serializers.ModelSerializer[Forecast]):
    """One amount of a running period: of a limit, or of the calendar month as a whole. Amounts are requests, tokens or
    US dollars, as `dimension` says; a forecast is no bill, so they are plain numbers."""

    type = serializers.ChoiceField(choices=LimitType.choices, allow_null=True, help_text="null: the month as a whole.")
    provider = serializers.CharField(allow_null=True, help_text="null: all providers together.")
    token = serializers.UUIDField(
        allow_null=True, help_text="The access token whose cap it is; null: the caller's own."
    )
    limit = serializers.FloatField(allow_null=True)
    used = serializers.FloatField(help_text="When it was made.")
    expected = serializers.FloatField(help_text="At the period's end.")
    low = serializers.FloatField(help_text="Eight of ten outcomes lie between `low` and `high`.")
    high = serializers.FloatField()
    reaches_limit_at = serializers.DateTimeField(allow_null=True, help_text="null: not in this period.")

    class Meta:
        model = Forecast
        fields = (
            "type",
            "provider",
            "token",
            "dimension",
            "limit",
            "used",
            "expected",
            "low",
            "high",
            "reaches_limit_at",
            "basis",
            "period_start",
            "period_end",
            "made_at",
        )

    def to_representation(self, instance: Forecast) -> dict[str, Any]:
        """Tell what is empty as null."""
        told = super().to_representation(instance)
        return {**told, "type": instance.type or None, "provider": instance.provider or None}


class Forecasts(Resource):
    """What is foreseen of the caller's running periods."""

    @extend_schema(operation_id="usage_forecast", responses=ForecastSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List what the caller's month and limits come to. They are made each hour, for whoever called in the past
        week; one that is too old to be relied on is left out."""
        return Response(ForecastSerializer(reading.of_user(self.user.pk, now=timezone.now()), many=True).data)
