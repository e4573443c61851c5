"""/api/v1/usage/summary/ and /api/v1/usage/series/: what the caller used and spent."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from digitalme.api.resource import Money, Resource
from digitalme.api.windows import Window
from usage import analytics
from usage.reading import Wanted


class SumsSerializer(serializers.Serializer[Any]):
    """Sums over calls. `cost` leaves out the `unpriced` ones, `requests` the refused."""

    requests = serializers.IntegerField()
    failed = serializers.IntegerField()
    refused = serializers.IntegerField()
    unpriced = serializers.IntegerField(help_text="Calls of models without a known price.")
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()
    reasoning_tokens = serializers.IntegerField()
    total_tokens = serializers.IntegerField()
    cost = Money(help_text="US dollars.")
    average_response_ms = serializers.IntegerField()


class ProviderSumsSerializer(SumsSerializer):
    """The sums of one provider."""

    provider = serializers.CharField()


class SummarySerializer(SumsSerializer):
    """The sums of a span of time, over all and by provider."""

    from_ = serializers.DateTimeField()
    to = serializers.DateTimeField()
    by_provider = ProviderSumsSerializer(many=True)

    def get_fields(self) -> dict[str, Any]:
        """Name the member `from`, which Python keeps for itself."""
        return {name.rstrip("_"): field for name, field in super().get_fields().items()}


class PointSerializer(ProviderSumsSerializer):
    """The sums of one calendar day, in the caller's time zone, and one provider."""

    day = serializers.DateField()


class Summary(Resource):
    """Sums over a span of time."""

    @extend_schema(operation_id="usage_summary", parameters=[Window], responses=SummarySerializer)
    def get(self, request: Request) -> Response:
        """Sum up the caller's calls: of the last 30 days, unless told otherwise."""
        window = Window.read(request, self.user)
        start, end = window.span(timezone.now())
        wanted = Wanted(analytics.of_user(self.user), start, end, window.of_provider)
        found = analytics.report(wanted, zone=self.user.time_zone, now=timezone.now())
        by_provider = [{"provider": slug, **_facts(sums)} for slug, sums in sorted(found.by["provider"].items())]
        answer = {"from": start, "to": end, **_facts(found.total), "by_provider": by_provider}
        return Response(SummarySerializer(answer).data)


class Series(Resource):
    """Sums by day."""

    @extend_schema(operation_id="usage_series", parameters=[Window], responses=PointSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Sum up the caller's calls by day and provider; days without calls have no point."""
        window, now = Window.read(request, self.user), timezone.now()
        first, last = window.days(now)
        points = analytics.daily(
            analytics.of_user(self.user),
            first,
            last,
            zone=self.user.time_zone,
            now=now,
            provider=window.of_provider,
        )
        return Response(PointSerializer(points, many=True).data)


def _facts(sums: analytics.Totals) -> dict[str, Any]:
    return {str(name): getattr(sums, str(name)) for name in SumsSerializer().fields}
