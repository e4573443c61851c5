"""The page of the admin on what everybody together used and spent."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_safe

from digitalme.accounts.models import AccessToken, Team
from digitalme.web import charts, report_charts
from digitalme.web.reports import Row, changes_of, named, people, provider_names
from usage import house
from usage.analytics import UsageReport
from usage.models import HouseUsage

DAYS = (7, 30, 90)
USUAL_DAYS = 30


@dataclass(frozen=True, slots=True)
class Table:
    """The sums of one dimension."""

    title: str
    rows: Sequence[Row]
    timed: bool = False


@admin.register(HouseUsage)
class HouseUsageAdmin(admin.ModelAdmin[HouseUsage]):
    """One page: what everybody together used and spent. Nothing is listed, edited or deleted."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """The gateway alone writes history."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: HouseUsage | None = None) -> bool:
        """It is never changed."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: HouseUsage | None = None) -> bool:
        """Nor taken away."""
        return False

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """No sum has a page of its own."""
        return redirect("admin:usage_houseusage_changelist")

    @method_decorator(require_safe)
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the last days, as many as `days` says."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        told = context_of(request.GET.get("days", ""), now=timezone.now())
        context = {**self.admin_site.each_context(request), "title": "Usage of the house", "opts": self.opts, **told}
        return render(request, "admin/usage_of_the_house.html", context)


def context_of(asked: str, *, now: datetime) -> dict[str, Any]:
    """Return what the page of the house shows of the last days; `asked` says of how many, if it is one of DAYS."""
    days = int(asked) if asked in map(str, DAYS) else USUAL_DAYS
    last = now.astimezone(UTC).date()
    first = last - timedelta(days=days - 1)
    found = house.report(first, last)
    return {
        "report": found,
        "days": days,
        "choices": DAYS,
        "changes": changes_of(found),
        "tables": _tables(found),
        "charts": report_charts.charts_of(found, charts.days(first, days), provider_names()),
    }


def _tables(found: UsageReport) -> list[Table]:
    by, names = found.by, provider_names()
    teams = dict(Team.objects.filter(pk__in=[one for one in by["team"] if one]).values_list("pk", "name"))
    tokens = AccessToken.objects.filter(pk__in=[one for one in by["token"] if one])
    programs = {pk: f"{name} of {email}" for pk, name, email in tokens.values_list("pk", "name", "user__email")}
    return [
        Table("By provider", [Row(names.get(one, one), sums) for one, sums in by["provider"].items()], timed=True),
        Table("By model", [Row(one, sums) for one, sums in by["model"].items()], timed=True),
        Table("By kind of key", [Row(one or "none", sums) for one, sums in by["key_source"].items()], timed=True),
        Table("Top users", people(by["user"])),
        Table("Top teams", [Row(named(teams, one), sums) for one, sums in by["team"].items() if one]),
        Table("Top access tokens", [Row(named(programs, one), sums) for one, sums in by["token"].items() if one]),
        Table("Top tags", [Row(one, sums) for one, sums in by["tag"].items()]),
    ]
