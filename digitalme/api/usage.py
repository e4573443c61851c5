"""/api/v1/usage/summary/ and series/, and the same of a team: what was used and spent."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from digitalme.accounts import teams
from digitalme.accounts.models import User
from digitalme.api.resource import Money, Resource
from digitalme.api.windows import Window
from usage import analytics
from usage.analytics import UsageReport
from usage.reading import Wanted as WantedCalls
from usage.reading import Whose

MAX_HOURS = timedelta(days=31)
CHANGING = ("requests", "failed", "total_tokens", "cost")


class SumsSerializer(serializers.Serializer[Any]):
    """Sums over calls. `cost` leaves out the `unpriced` ones, `requests` the refused."""

    requests = serializers.IntegerField()
    failed = serializers.IntegerField()
    refused = serializers.IntegerField()
    unpriced = serializers.IntegerField(help_text="Calls of models without a known price.")
    counted = serializers.IntegerField(help_text="Calls whose tokens were counted here, not told by the provider.")
    estimated = serializers.IntegerField(help_text="Calls whose tokens are an estimate.")
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()
    cache_write_tokens = serializers.IntegerField()
    reasoning_tokens = serializers.IntegerField()
    total_tokens = serializers.IntegerField()
    cost = Money(help_text="US dollars.")
    average_response_ms = serializers.IntegerField()


class TimedSumsSerializer(SumsSerializer):
    """Sums, and how long the calls took."""

    p50_response_ms = serializers.IntegerField(
        allow_null=True, help_text="Half of the calls ended within this time, to within half as much again."
    )
    p95_response_ms = serializers.IntegerField(allow_null=True, help_text="95 of 100 calls ended within this time.")


class ProviderSumsSerializer(TimedSumsSerializer):
    """The sums of one provider."""

    provider = serializers.CharField()


class ModelSumsSerializer(TimedSumsSerializer):
    """The sums of one model."""

    model = serializers.CharField(allow_blank=True)


class KeySourceSumsSerializer(TimedSumsSerializer):
    """The sums of one kind of key."""

    key_source = serializers.CharField(allow_blank=True)


class TokenSumsSerializer(TimedSumsSerializer):
    """The sums of one access token."""

    token = serializers.UUIDField(allow_null=True, help_text="Its id; null where no access token was used.")


class UserSumsSerializer(TimedSumsSerializer):
    """The sums of one person."""

    user = serializers.UUIDField()


class TagSumsSerializer(SumsSerializer):
    """The sums of one tag."""

    tag = serializers.CharField(
        allow_blank=True, help_text="Empty: calls without one, and those with tags that are told together as rare ones."
    )


class ChangeSerializer(serializers.Serializer[Any]):
    """By which share sums grew since the period of equal length before; null if it had none."""

    requests = serializers.FloatField(allow_null=True)
    failed = serializers.FloatField(allow_null=True)
    total_tokens = serializers.FloatField(allow_null=True)
    cost = serializers.FloatField(allow_null=True)


class ReportSerializer(TimedSumsSerializer):
    """The sums of a span of time: over all, and broken down, the dearest first."""

    from_ = serializers.DateTimeField()
    to = serializers.DateTimeField()
    before = TimedSumsSerializer(help_text="The period of equal length before.")
    change = ChangeSerializer()
    by_provider = ProviderSumsSerializer(many=True)
    by_model = ModelSumsSerializer(many=True)
    by_key_source = KeySourceSumsSerializer(many=True)
    by_tag = TagSumsSerializer(many=True)

    def get_fields(self) -> dict[str, Any]:
        """Name the member `from`, which Python keeps for itself."""
        return {name.rstrip("_"): field for name, field in super().get_fields().items()}


class SummarySerializer(ReportSerializer):
    """What the caller used and spent."""

    by_token = TokenSumsSerializer(many=True)


class TeamSummarySerializer(ReportSerializer):
    """What members used and spent on a team's keys."""

    by_user = UserSumsSerializer(many=True)


class PointSerializer(SumsSerializer):
    """The sums of one calendar day, in the caller's time zone, or one hour, and one value of what `by` names."""

    day = serializers.DateField(required=False)
    hour = serializers.DateTimeField(required=False)
    provider = serializers.CharField(required=False)
    model = serializers.CharField(required=False)
    key_source = serializers.CharField(required=False)


class WantedSeries(Window):
    """Which calls, and how they are told apart."""

    interval = serializers.ChoiceField(choices=["day", "hour"], default="day", help_text="hour: 31 days at most.")
    by = serializers.ChoiceField(choices=["provider", "model", "key_source"], default="provider")


class Summary(Resource):
    """Sums over a span of time."""

    @extend_schema(operation_id="usage_summary", parameters=[Window], responses=SummarySerializer)
    def get(self, request: Request) -> Response:
        """Sum up the caller's calls: of the last 30 days, unless told otherwise."""
        found = _report(request, self.user, analytics.of_user(self.user))
        return Response(SummarySerializer(_told(found, "provider", "model", "key_source", "token", "tag")).data)


class Series(Resource):
    """Sums by day or hour."""

    @extend_schema(operation_id="usage_series", parameters=[WantedSeries], responses=PointSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Sum up the caller's calls by day and provider, or as asked; times without calls have no point."""
        return _series(request, self.user, analytics.of_user(self.user))


class TeamSummary(Resource):
    """Sums of a team."""

    @extend_schema(operation_id="teams_usage", parameters=[Window], responses=TeamSummarySerializer)
    def get(self, request: Request, team: str) -> Response:
        """Sum up the calls of all members on the team's keys: its owner and admins may."""
        place = teams.managed_place_of(self.user, team)
        found = _report(request, self.user, analytics.of_team(place.team))
        return Response(TeamSummarySerializer(_told(found, "provider", "model", "key_source", "user", "tag")).data)


class TeamSeries(Resource):
    """Sums of a team by day or hour."""

    @extend_schema(operation_id="teams_usage_series", parameters=[WantedSeries], responses=PointSerializer(many=True))
    def get(self, request: Request, team: str) -> Response:
        """Sum up by day or hour the calls of all members on the team's keys: its owner and admins may."""
        return _series(request, self.user, analytics.of_team(teams.managed_place_of(self.user, team).team))


def _report(request: Request, reader: User, whose: Whose) -> UsageReport:
    window, now = Window.read(request, reader), timezone.now()
    return analytics.report(WantedCalls(whose, *window.span(now), window.of_provider), zone=reader.time_zone)


def _told(found: UsageReport, *dimensions: str) -> dict[str, Any]:
    by = {f"by_{name}": [{name: value, **_facts(one)} for value, one in found.by[name].items()] for name in dimensions}
    change = {name: found.change(name) for name in CHANGING}
    return {
        **{"from": found.start, "to": found.end, "before": _facts(found.before), "change": change},
        **_facts(found.total),
        **by,
    }


def _series(request: Request, reader: User, whose: Whose) -> Response:
    window, now = WantedSeries.read(request, reader), timezone.now()
    by, interval = window.validated_data["by"], window.validated_data["interval"]
    if interval == "hour":
        start, end = window.span(now)
        if end - start > MAX_HOURS:
            raise serializers.ValidationError({"interval": ["By hour, 31 days at most can be told."]})
        points = analytics.hourly(WantedCalls(whose, start, end, window.of_provider), by=by)
    else:
        first, last = window.days(now)
        zone, provider = reader.time_zone, window.of_provider
        points = analytics.daily(whose, first, last, zone=zone, now=now, by=by, provider=provider)
    rows = ({interval: one.at, by: one.value, **_facts(one, SumsSerializer().fields)} for one in points)
    return Response(PointSerializer(rows, many=True).data)


def _facts(sums: analytics.Totals, names: Iterable[Any] | None = None) -> dict[str, Any]:
    return {str(name): getattr(sums, str(name)) for name in names or TimedSumsSerializer().fields}
