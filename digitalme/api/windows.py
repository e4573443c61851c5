"""The question that every usage resource takes: from when, to when, of which provider."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Self
from zoneinfo import ZoneInfo

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request

from digitalme.accounts.models import User

MAX_DAYS = 3660
DEFAULT_DAYS = 30
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@extend_schema_field({"type": "string", "example": "2026-11-24"})
class Moment(serializers.Field[datetime, str, str, Any]):
    """A day in the caller's time zone, or a point in time (ISO 8601)."""

    def __init__(self, *, whole_day: bool = False, **options: Any) -> None:
        super().__init__(required=False, **options)
        self.whole_day = whole_day

    def to_internal_value(self, data: Any) -> datetime:
        """Return the point in time; a day means its beginning, or with `whole_day` its end."""
        zone = self.context["zone"]
        try:
            if _DAY.fullmatch(data):
                day = date.fromisoformat(data) + timedelta(days=self.whole_day)
                return datetime.combine(day, time(), zone).astimezone(UTC)
            # A plus sign that nobody encoded arrives as a space.
            moment = datetime.fromisoformat(data.replace(" ", "+"))
            return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
        except (ValueError, OverflowError):
            raise serializers.ValidationError("Give a day as 2026-11-24 or a time as 2026-11-24T12:00:00Z.") from None


class Window(serializers.Serializer[Any]):
    """A span of time and a provider, all of them optional."""

    from_ = Moment(help_text="The first day, or the point in time to begin with.")
    to = Moment(whole_day=True, help_text="The last day, or the point in time to end before.")
    provider = serializers.CharField(required=False, max_length=64, help_text="A provider's slug.")

    def get_fields(self) -> dict[str, Any]:
        """Name the parameter `from`, which Python keeps for itself."""
        return {name.rstrip("_"): field for name, field in super().get_fields().items()}

    @classmethod
    def read(cls, request: Request, user: User) -> Self:
        """Return the question in the request's address. Raises ValidationError."""
        return cls.of(request.query_params, user)

    @classmethod
    def of(cls, data: Any, user: User) -> Self:
        """Return the question that these members ask. Raises ValidationError."""
        given = cls(data=data, context={"zone": ZoneInfo(user.time_zone)})
        given.is_valid(raise_exception=True)
        return given

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse a span that ends before it begins."""
        if "from" in attrs and "to" in attrs:
            _check(attrs["from"], attrs["to"])
        return attrs

    @property
    def of_provider(self) -> str | None:
        """The one provider that is asked about; None for all."""
        found: str | None = self.validated_data.get("provider")
        return found

    def span(self, now: datetime) -> tuple[datetime, datetime]:
        """Return begin and end; without them the last 30 calendar days. Raises ValidationError."""
        end = self.validated_data.get("to", now)
        first_day = end.astimezone(self.context["zone"]).date() - timedelta(days=DEFAULT_DAYS - 1)
        start = self.validated_data.get("from", datetime.combine(first_day, time(), self.context["zone"]))
        _check(start, end)
        return start.astimezone(UTC), end

    def days(self, now: datetime) -> tuple[date, date]:
        """Return the first and the last day of the span in the caller's time zone. Raises ValidationError."""
        start, end = self.span(now)
        zone = self.context["zone"]
        return start.astimezone(zone).date(), (end - timedelta(microseconds=1)).astimezone(zone).date()

    def equal(self, *names: str) -> dict[str, Any]:
        """Return those of the named parameters that were given."""
        return {name: self.validated_data[name] for name in names if name in self.validated_data}

    def range(self, column: str) -> dict[str, Any]:
        """Return lookups of a time column, and of the provider."""
        bounds = {f"{column}__gte": self.validated_data.get("from"), f"{column}__lt": self.validated_data.get("to")}
        return {**{name: at for name, at in bounds.items() if at}, **self.equal("provider")}


def _check(start: datetime, end: datetime) -> None:
    if not timedelta() < end - start <= timedelta(days=MAX_DAYS):
        raise serializers.ValidationError({"to": ["This is before from, or more than ten years after it."]})
