"""Records and their sums in the admin: to be read, never to be changed."""

from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from usage import retention
from usage.models import DailyUsage, HourlyUsage, HouseUsage, UsageRecord


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


class Summed(admin.SimpleListFilter):
    """Offers what the house's sums know: to look for it in the calls would be to read them all."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the values that occur."""
        known = HouseUsage.objects.filter(dimension=self.parameter_name).exclude(value="")
        return [(one, one) for one in known.order_by("value").values_list("value", flat=True).distinct()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Narrow the calls to the chosen value."""
        return queryset.filter(**{str(self.parameter_name): self.value()}) if self.value() else queryset


class OfProvider(Summed):
    title = parameter_name = "provider"


class OfKeySource(Summed):
    title, parameter_name = "key source", "key_source"


class FirstPages(Paginator[Any]):
    """Counts no further than anybody leafs: of millions of calls the count alone would take a second."""

    MOST = 10_000

    @cached_property
    def count(self) -> int:
        """How many calls there are, MOST at the most."""
        found: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return found[: self.MOST].count()


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
    list_filter = ["status", OfProvider, OfKeySource, "counted_by", ("cost", Unpriced), "timestamp"]
    search_fields = ["=request_id", "=user_id", "=model", "=tag", "=error_type"]
    search_help_text = "A request or user id, a model, a tag or an error type, in full."
    paginator = FirstPages

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
