"""/settings/usage/limits/: how a person's limits stand and why they are what they are, and asking for more."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from digitalme.errors import InvalidRequest, QuotaExceeded
from digitalme.web import live as live_pages
from digitalme.web import outlooks, quota_bars, raises
from digitalme.web.access import SignedInRequest, page, signed_in
from quotas import policy
from quotas import raises as asking
from quotas.models import Raise

TEMPLATE = "settings/limits.html"
AT_A_GLANCE = 4


@require_safe
@signed_in
def show(request: SignedInRequest) -> HttpResponse:
    """Show what is left, and why."""
    return _answer(request)


@require_safe
@signed_in
def live(request: SignedInRequest) -> HttpResponse:
    """Answer an open page: with nothing while nothing changed, else with the limits as they are now."""
    now = timezone.now()
    if request.GET.get("seen") == live_pages.stamp(request.user, now):
        return HttpResponse(status=204)
    if not request.htmx:
        return redirect("settings_limits")
    stamp, foreseen = live_pages.opened(request.user, now)
    bars = outlooks.under(quota_bars.bars_of(request.user, now=now), foreseen, request.user, now)
    context = {"bars": bars, "stamp": stamp}
    return page(request, TEMPLATE, context, fragment="bars")


@require_safe
@signed_in
def glance(request: SignedInRequest) -> HttpResponse:
    """Answer the usage page with those limits that are nearest to their end."""
    if not request.htmx:
        return redirect("settings_limits")
    now = timezone.now()
    _, foreseen = live_pages.opened(request.user, now)
    bars = outlooks.under(quota_bars.bars_of(request.user, now=now), foreseen, request.user, now)
    context = {"bars": bars[:AT_A_GLANCE], "more": len(bars[AT_A_GLANCE:])}
    return page(request, TEMPLATE, context, fragment="glance")


def _answer(request: SignedInRequest, form: raises.RaiseForm | None = None) -> HttpResponse:
    """Answer with the page, with `form` in the place of an empty one that asks for more."""
    user, now = request.user, timezone.now()
    stamp, foreseen = live_pages.opened(user, now)
    told, known = asking.told_of(user, raises.SHOWN), policy.people([user.pk])
    granted = sorted((one for one in told if one.state == Raise.State.GRANTED), key=lambda one: one.pk)
    bars = quota_bars.bars_of(user, now=now, granted=granted, known=known)
    context: dict[str, Any] = {
        "stamp": stamp,
        "bars": outlooks.under(bars, foreseen, user, now),
        "person": known[user.pk],
        **raises.context_of(told[: raises.SHOWN], bars, form),
    }
    return page(request, TEMPLATE, context, status=422 if form and form.errors else 200)


@require_POST
@signed_in
def ask_for_more(request: SignedInRequest) -> HttpResponse:
    """Take a request for more."""
    user, now = request.user, timezone.now()
    form = raises.RaiseForm(request.POST, bars=quota_bars.bars_of(user, now=now))
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
            return redirect("settings_limits")
    return _answer(request, form)


@require_POST
@signed_in
def withdraw_raise(request: SignedInRequest, raise_id: UUID) -> HttpResponse:
    """Take a request back."""
    asking.withdraw(actor=request.user, raise_id=raise_id)
    messages.success(request, "Your request is withdrawn.")
    return redirect("settings_limits")
