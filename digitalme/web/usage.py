"""/settings/usage/: today's numbers, charts of a range of days, latest calls."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_safe
from django_htmx.http import trigger_client_event

from digitalme.accounts.models import User
from digitalme.web import charts, outlooks, report_charts, reports
from digitalme.web import live as live_pages
from digitalme.web.access import SignedInRequest, page, signed_in
from digitalme.web.charts import Slot
from usage import analytics, reading
from usage.models import UsageRecord
from usage.reading import Rolled
from usage.rollups import HOUR, day_bounds

TEMPLATE = "settings/usage.html"
LATEST_CALLS = 12
RANGES = {"today": ("Today", 1), "7": ("7 days", 7), "30": ("30 days", 30), "90": ("90 days", 90)}
USUAL_RANGE = "30"
STACKED_BY = {"provider": "Provider", "model": "Model"}


@dataclass(frozen=True)
class Choice:
    """What the charts are to show. Whatever is asked for and is none of the choices is the usual."""

    range: str
    provider: str
    by: str

    @classmethod
    def read(cls, given: QueryDict, names: dict[str, str]) -> "Choice":
        """Return what the address says."""
        asked, provider, by = (given.get(name, "") for name in ("range", "provider", "by"))
        return cls(
            range=asked if asked in RANGES else USUAL_RANGE,
            provider=provider if provider in names else "",
            by=by if by in STACKED_BY else "provider",
        )

    @property
    def days(self) -> int:
        """How many days there are in the range, today being one of them."""
        return RANGES[self.range][1]

    @property
    def span(self) -> str:
        """The range in words."""
        return "today by the hour" if self.range == "today" else f"the last {self.days} days"

    @property
    def before(self) -> str:
        """What the range is held against, in words."""
        return "yesterday by this time" if self.range == "today" else f"in the {self.days} days before"


@require_safe
@signed_in
def show(request: SignedInRequest) -> HttpResponse:
    """Show what was used; to the form that chooses what the charts show, only these."""
    user, now = request.user, timezone.now()
    # Before the numbers are read: what happens in between is then seen the next time.
    stamp, foreseen = live_pages.opened(user, now)
    known = reading.rolled()
    names = reports.provider_names()
    charted = _charted(user, Choice.read(request.GET, names), names, now, known)
    if request.htmx and request.htmx.target == "course":
        return page(request, TEMPLATE, charted, fragment="course")
    context = {**charted, **_now(user, now, known), "stamp": stamp, "month": outlooks.of_month(foreseen)}
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
        "names": reports.provider_names(),
    }


def _charted(user: User, choice: Choice, names: dict[str, str], now: datetime, known: Rolled) -> dict[str, Any]:
    """Return what the part of the page needs that a range of days is chosen for."""
    zone = user.time_zone
    today = now.astimezone(ZoneInfo(zone)).date()
    first = today - timedelta(days=choice.days - 1)
    found = analytics.course(
        analytics.of_user(user),
        first,
        today,
        zone=zone,
        now=now,
        by=choice.by,
        provider=choice.provider or None,
        known=known,
    )
    slots = charts.days(first, choice.days) if choice.days > 1 else _hours(now, zone)
    return {
        "choice": choice,
        "ranges": {name: words for name, (words, _) in RANGES.items()},
        "stacked_by": STACKED_BY,
        "names": names,
        "report": found,
        "changes": reports.changes_of(found, choice.before),
        "charts": report_charts.charts_of(found, slots, names, choice.by),
        "rows": [
            reports.Row(names.get(one, one) or f"no {choice.by}", sums) for one, sums in found.by[choice.by].items()
        ],
    }


def _hours(now: datetime, zone: str) -> list[Slot]:
    """Return the hours that begin today in the zone: as many as the day has, which need not be 24."""
    tz = ZoneInfo(zone)
    begin, end = day_bounds(now.astimezone(tz).date(), zone)
    hour = begin.replace(minute=0, second=0, microsecond=0)
    hour += HOUR if hour < begin else timedelta()
    found = []
    while hour < end:
        found.append(Slot(hour, f"{hour.astimezone(tz):%H:%M}"))
        hour += HOUR
    return found
