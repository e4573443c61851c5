"""Forecasts in the admin: to be read, never to be changed."""

from django.contrib import admin

from digitalme.forecasts.models import Forecast
from usage.admin import ReadOnlyAdmin


@admin.register(Forecast)
class ForecastAdmin(ReadOnlyAdmin):
    """What running periods come to. A row without a type is a whole month's."""

    list_display = [
        "owner_id",
        "type",
        "provider",
        "dimension",
        "used",
        "expected",
        "low",
        "high",
        "limit",
        "reaches_limit_at",
        "basis",
        "period_end",
        "made_at",
    ]
    list_filter = ["dimension", "basis", "type", "reaches_limit_at", "made_at"]
    search_fields = ["=owner_id", "=user__email", "=team__slug"]
    search_help_text = "An id of a user, team or access token, a mail address or a team's slug, in full."
    ordering = ["-made_at", "owner_id", "type", "dimension"]
