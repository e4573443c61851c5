"""/settings/usage/: today's numbers, limits, cost of 30 days, latest calls."""

from django.http import HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from digitalme.web import charts, quota_bars, spending
from digitalme.web.access import SignedInRequest, page, signed_in
from usage import analytics
from usage.models import UsageRecord

DAYS = 30
DAYS_ON_A_PHONE = 14
LATEST_CALLS = 12


@require_safe
@signed_in
def show(request: SignedInRequest) -> HttpResponse:
    """Show what was used and what is left."""
    user, now = request.user, timezone.now()
    spent = spending.by_provider(user, days=DAYS, now=now)
    context = {
        "today": analytics.today(user, now),
        "bars": quota_bars.bars_of(user, now=now),
        "spent": spent,
        "wide": charts.stacked_bars(spent.days, spent.series, width=760, height=240),
        "narrow": charts.stacked_bars(
            spent.days[-DAYS_ON_A_PHONE:], spent.last(DAYS_ON_A_PHONE), width=340, height=200
        ),
        "calls": UsageRecord.objects.filter(user_id=user.pk).order_by("-timestamp")[:LATEST_CALLS],
        "names": spent.names,
    }
    return page(request, "settings/usage.html", context)
