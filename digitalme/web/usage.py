"""/settings/usage/: today's numbers, limits, cost of 30 days, latest calls."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from digitalme.accounts.models import User
from digitalme.errors import InvalidRequest, QuotaExceeded
from digitalme.web import budgets, charts, quota_bars, raises, spending
from digitalme.web import live as live_pages
from digitalme.web.access import SignedInRequest, page, signed_in
from providers import registry
from quotas import adjustment
from quotas import raises as asking
from usage import analytics
from usage.models import UsageRecord

DAYS = 30
DAYS_ON_A_PHONE = 14
LATEST_CALLS = 12


@require_safe
@signed_in
def show(request: SignedInRequest) -> HttpResponse:
    """Show what was used and what is left."""
    return answer(request)


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
    bars = quota_bars.bars_of(request.user, now=now)
    context = {**_now(request.user, now), "bars": bars, "stamp": stamp, "oob": True}
    return page(request, "settings/usage.html", context, fragment="live")


def _now(user: User, now: datetime) -> dict[str, Any]:
    """Return what the page tells of this moment, but for the limits."""
    return {
        "today": analytics.today(user, now),
        "calls": UsageRecord.objects.filter(user_id=user.pk).order_by("-timestamp")[:LATEST_CALLS],
        "names": {provider.slug: provider.name for provider in registry.all_providers()},
    }


def answer(request: SignedInRequest, form: Any = None, budget_form: Any = None) -> HttpResponse:
    """Answer with the page, with `form` in the place of an empty one that asks for more, or `budget_form` in that of
    an empty one that sets a budget."""
    user, now = request.user, timezone.now()
    stamp = live_pages.stamp(user, now)
    bars = quota_bars.bars_of(user, now=now)
    spent = spending.by_provider(user, days=DAYS, now=now)
    context = {
        **_now(user, now),
        "stamp": stamp,
        "bars": bars,
        "share": adjustment.explained(user),
        **raises.context_of(user, bars, form),
        **budgets.context_of(user, budget_form),
        "spent": spent,
        "wide": charts.stacked_bars(spent.days, spent.series, width=760, height=240),
        "narrow": charts.stacked_bars(
            spent.days[-DAYS_ON_A_PHONE:], spent.last(DAYS_ON_A_PHONE), width=340, height=200
        ),
    }
    return page(
        request,
        "settings/usage.html",
        context,
        status=422 if any(one and one.errors for one in (form, budget_form)) else 200,
    )


@require_POST
@signed_in
def ask_for_more(request: SignedInRequest) -> HttpResponse:
    """Take a request for more."""
    user, now = request.user, timezone.now()
    bars = quota_bars.bars_of(user, now=now)
    form = raises.RaiseForm(request.POST, bars=bars)
    if form.is_valid():
        try:
            type_, provider, amounts = form.wanted()
            given = form.cleaned_data
            asking.ask(
                actor=user,
                type=type_,
                provider=provider,
                amounts=amounts,
                until=given["until"],
                why=given["why"],
                now=now,
            )
        except (InvalidRequest, QuotaExceeded) as problem:
            name = problem.data.get("field")
            form.add_error(name if name in form.fields else None, problem.message)
        else:
            messages.success(request, "Your request is on its way. You get a mail when it is answered.")
            return redirect("settings_usage")
    return answer(request, form=form)


@require_POST
@signed_in
def withdraw_raise(request: SignedInRequest, raise_id: UUID) -> HttpResponse:
    """Take a request back."""
    asking.withdraw(actor=request.user, raise_id=raise_id)
    messages.success(request, "Your request is withdrawn.")
    return redirect("settings_usage")


@require_POST
@signed_in
def set_budget(request: SignedInRequest) -> HttpResponse:
    """Set a budget on own keys, or a cap of a token."""
    form = budgets.BudgetForm(request.POST, user=request.user)
    if form.is_valid():
        try:
            form.put(request.user)
        except InvalidRequest as problem:
            form.add_error(None, problem.message)
        else:
            messages.success(request, "It is set, and holds from the next call on.")
            return redirect("settings_usage")
    return answer(request, budget_form=form)


@require_POST
@signed_in
def remove_budget(request: SignedInRequest, limit_id: int) -> HttpResponse:
    """Remove a budget or a cap."""
    if not budgets.remove(request.user, limit_id):
        raise Http404
    messages.success(request, "It is removed.")
    return redirect("settings_usage")
