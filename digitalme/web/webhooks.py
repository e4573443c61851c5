"""/settings/webhooks/: addresses to which a person's events are posted, and what came of that."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apikeys import webhook_secrets
from digitalme import throttling
from digitalme.errors import InvalidRequest, SecurityViolation
from digitalme.notifications import deliveries, webhooks
from digitalme.notifications.models import Delivery
from digitalme.web.access import SignedInRequest, page, signed_in

LIST, ONE = "settings/webhooks.html", "settings/webhook.html"
PER_PAGE = 20


class WebhookForm(forms.Form):
    """A new webhook."""

    name = forms.CharField(max_length=webhooks.MAX_NAME, help_text="What receives it, such as “our chat”.")
    url = forms.CharField(
        max_length=webhooks.MAX_URL,
        label="Address",
        widget=forms.URLInput(attrs={"placeholder": "https://"}),
        help_text="https and on the public internet. It cannot be changed later, and is shown here, so put no password "
        "into it: what comes from here is signed.",
    )


@sensitive_variables("secret")
@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def show(request: SignedInRequest) -> HttpResponse:
    """Show a person's webhooks. A new one that comes back is made, and its secret shown this one time."""
    form = WebhookForm(request.POST or None)
    context: dict[str, Any] = {"form": form, "most": webhooks.MOST}
    if request.method == "POST" and form.is_valid():
        try:
            made, secret = webhook_secrets.add(user=request.user, now=timezone.now(), **form.cleaned_data)
        except (InvalidRequest, SecurityViolation) as problem:
            place = "url" if isinstance(problem, SecurityViolation) else problem.data.get("field")
            form.add_error(place, problem.message)
        else:
            context |= {"form": WebhookForm(), "made": made, "secret": secret}
    context["webhooks"] = list(webhooks.of(request.user.pk))
    return page(request, LIST, context, status=422 if context["form"].errors else 200)


@require_safe
@signed_in
def show_one(request: SignedInRequest, webhook_id: UUID) -> HttpResponse:
    """Show one of them with its log."""
    return _one(request, webhook_id)


@require_POST
@signed_in
def test(request: SignedInRequest, webhook_id: UUID) -> HttpResponse:
    """Post a test event now, and say what came of it."""
    webhook = webhooks.find(request.user.pk, webhook_id)
    throttling.take(("api.webhook_tests", str(request.user.pk)))
    outcome = deliveries.test(webhook)
    if outcome.state == Delivery.State.DELIVERED:
        messages.success(request, f"It was taken: status {outcome.answer_status} after {outcome.took_ms} ms.")
    else:
        messages.error(request, f"It was not taken. {outcome.problem}")
    return redirect("settings_webhook", webhook_id)


@require_POST
@signed_in
def switch(request: SignedInRequest, webhook_id: UUID) -> HttpResponse:
    """Switch one on or off."""
    on = request.POST.get("on") == "1"
    webhooks.switch(webhooks.find(request.user.pk, webhook_id), on=on)
    messages.success(request, "Events are posted to it again." if on else "Nothing is posted to it any more.")
    return redirect("settings_webhook", webhook_id)


@sensitive_variables("secret")
@require_POST
@signed_in
def renew(request: SignedInRequest, webhook_id: UUID) -> HttpResponse:
    """Give one another secret, and show that this one time."""
    webhook = webhooks.find(request.user.pk, webhook_id)
    secret = webhook_secrets.renew(user=request.user, webhook=webhook)
    return _one(request, webhook_id, secret=secret)


@require_POST
@signed_in
def remove(request: SignedInRequest, webhook_id: UUID) -> HttpResponse:
    """Remove one; the page asked before."""
    webhook = webhooks.find(request.user.pk, webhook_id)
    webhooks.remove(webhook)
    messages.success(request, f"The webhook {webhook.name} is removed.")
    return redirect("settings_webhooks")


def _one(request: SignedInRequest, webhook_id: UUID, **more: Any) -> HttpResponse:
    webhook = webhooks.find(request.user.pk, webhook_id)
    shown = Paginator(Delivery.objects.filter(webhook=webhook), PER_PAGE).get_page(request.GET.get("page"))
    ask = request.GET.get("ask", "") if request.method != "POST" else ""
    context = {"webhook": webhook, "shown": shown, "ask": ask, **more}
    return page(request, ONE, context, fragment="one")
