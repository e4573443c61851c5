"""/settings/usage/: today's numbers, cost of 30 days, latest calls."""

from datetime import datetime
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_safe
from django_htmx.http import trigger_client_event

from digitalme.accounts.models import User
from digitalme.web import charts, outlooks, spending
from digitalme.web import live as live_pages
from digitalme.web.access import SignedInRequest, page, signed_in
from providers import registry
from usage import analytics, reading
from usage.models import UsageRecord
from usage.reading import Rolled

TEMPLATE = "settings/usage.html"
DAYS = 30
DAYS_ON_A_PHONE = 14
LATEST_CALLS = 12


@require_safe
@signed_in
def show(request: SignedInRequest) -> HttpResponse:
    """Show what was used."""
    user, now = request.user, timezone.now()
    stamp, foreseen = live_pages.opened(user, now)
    known = reading.rolled()
    spent = spending.by_provider(user, days=DAYS, now=now, known=known)
    context = {
        **_now(user, now, known),
        "stamp": stamp,
        "month": outlooks.of_month(foreseen),
        "spent": spent,
        "wide": charts.stacked_bars(spent.days, spent.series, width=760, height=240),
        "narrow": charts.stacked_bars(
            spent.days[-DAYS_ON_A_PHONE:], spent.last(DAYS_ON_A_PHONE), width=340, height=200
        ),
    }
    return page(request, TEMPLATE, context)


@require_safe
@signed_in
def live(request: SignedInRequest) -> HttpResponse:
    """Answer an open page: with nothing while nothing changed, else with the numbers as they are now."""
    now = timezone.now()
    stamp = live_pages.stamp(request.user, now)
    if request.GET.get("seen") == stamp:
        return HttpResponse(status=204)
    if not request.htmx:
        return redirect("settings_usage")
    context = {**_now(request.user, now), "stamp": stamp, "oob": True}
    return trigger_client_event(page(request, TEMPLATE, context, fragment="live"), "numbers-changed")


def _now(user: User, now: datetime, known: Rolled | None = None) -> dict[str, Any]:
    """Return what the page tells of this moment."""
    return {
        "today": analytics.today(user, now, known),
        "calls": UsageRecord.objects.filter(user_id=user.pk).order_by("-timestamp")[:LATEST_CALLS],
        "names": {provider.slug: provider.name for provider in registry.all_providers()},
    }
