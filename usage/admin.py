"""Records and their sums in the admin: to be read, never to be changed."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from usage import retention
from usage.models import DailyUsage, HourlyUsage, UsageRecord


class Unpriced(admin.EmptyFieldListFilter):
    """Calls whose price is not known, or those whose price is."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.title = "price"

    def choices(self, changelist: Any) -> Any:
        """Name them for what they are."""
        for choice, name in zip(super().choices(changelist), ("All", "Unpriced", "Priced"), strict=True):
            yield {**choice, "display": name}


class ReadOnlyAdmin(admin.ModelAdmin[Any]):
    """History is written by the gateway alone."""

    actions = None
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(UsageRecord)
class UsageRecordAdmin(ReadOnlyAdmin):
    """Single calls."""

    list_display = [
        "timestamp",
        "user_id",
        "provider",
        "model",
        "key_source",
        "status",
        "error_type",
        "input_tokens",
        "output_tokens",
        "cost",
        "response_ms",
        "tag",
    ]
    list_filter = ["status", "provider", "key_source", "counted_by", ("cost", Unpriced), "timestamp"]
    search_fields = ["=request_id", "=user_id", "=model", "=tag", "=error_type"]
    search_help_text = "A request or user id, a model, a tag or an error type, in full."
    date_hierarchy = "timestamp"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """List the calls, and say for how long they are kept."""
        return super().changelist_view(request, {"subtitle": retention.sentence(), **(extra_context or {})})


class SumsAdmin(ReadOnlyAdmin):
    """What hours and days have in common."""

    list_filter = ["provider", "key_source"]
    search_fields = ["=user_id", "=model"]
    search_help_text = "A user id or a model, in full."


@admin.register(HourlyUsage)
class HourlyUsageAdmin(SumsAdmin):
    """Sums by hour."""

    list_display = ["hour", "user_id", "provider", "model", "key_source", "token_id", "requests", "refused", "cost"]
    date_hierarchy = "hour"
    ordering = ["-hour"]


@admin.register(DailyUsage)
class DailyUsageAdmin(SumsAdmin):
    """Sums by day."""

    list_display = ["day", "user_id", "provider", "model", "key_source", "token_id", "requests", "refused", "cost"]
    date_hierarchy = "day"
    ordering = ["-day"]
