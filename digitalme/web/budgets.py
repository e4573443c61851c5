"""/settings/usage/budgets/: where people bound themselves, by budgets on own keys and caps of access tokens."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from digitalme.accounts import tokens
from digitalme.accounts.models import User
from digitalme.errors import InvalidRequest
from digitalme.web.access import SignedInRequest, page, signed_in
from digitalme.web.templatetags import formats
from providers import registry
from quotas import caps, owners
from quotas.caps import Cap
from quotas.models import Limit
from quotas.owners import Owner

OWN_KEYS = "own"
_TYPES = {(True, "day"): "daily_budget", (True, "month"): "monthly_budget", (False, "day"): "daily"}
_SOFT_HELP = "Show when it is passed, and stop nothing."


class BudgetForm(forms.Form):
    """What is bounded, for how long, and by how much."""

    bounds = forms.ChoiceField(label="Bound")
    provider = forms.ChoiceField(label="At", required=False)
    period = forms.ChoiceField(label="In each", choices=[("day", "day"), ("month", "month")], initial="month")
    cost = forms.DecimalField(label="US dollars", required=False, min_value=0, max_digits=17, decimal_places=9)
    requests = forms.IntegerField(label="Calls", required=False, min_value=0)
    tokens = forms.IntegerField(label="Tokens", required=False, min_value=0)
    soft = forms.BooleanField(label="Warn only", required=False, help_text=_SOFT_HELP)

    def __init__(self, data: Any = None, *, user: User) -> None:
        super().__init__(data, auto_id="budget-%s")
        mine = tokens.tokens_of(user).filter(revoked_at=None)
        bounds: Any = self.fields["bounds"]
        bounds.choices = [
            (OWN_KEYS, "calls on my own keys"),
            *((str(one.pk), f"the token “{one.name}”") for one in mine),
        ]
        provider: Any = self.fields["provider"]
        provider.choices = [("", "all providers together"), *((one.slug, one.name) for one in registry.all_providers())]

    def owner(self, user: User) -> Owner:
        """Return whose limit it is to be: the person's, or that of one of their tokens."""
        chosen = self.cleaned_data["bounds"]
        if chosen == OWN_KEYS:
            return owners.of_user(user.pk)
        return owners.of_token(tokens.tokens_of(user).get(pk=chosen).pk)

    def put(self, user: User) -> None:
        """Set it. Raises InvalidRequest for what there cannot be."""
        given, owner = self.cleaned_data, self.owner(user)
        type_ = _TYPES.get((owner.scope == owners.USER, given["period"]), "monthly")
        cap = Cap(given["requests"], given["tokens"], given["cost"], given["soft"])
        caps.put(actor=user, owner=owner, type=type_, provider=given["provider"], cap=cap, now=timezone.now())


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def show(request: SignedInRequest) -> HttpResponse:
    """Show a person's budgets and caps; a form that comes back sets one."""
    user, form = request.user, BudgetForm(request.POST or None, user=request.user)
    if request.method == "POST" and form.is_valid():
        try:
            form.put(user)
        except InvalidRequest as problem:
            form.add_error(None, problem.message)
        else:
            messages.success(request, "It is set, and holds from the next call on.")
            return redirect("settings_budgets")
    context = {"budgets": [told(one) for one in _mine(user)], "budget_form": form}
    return page(request, "settings/budgets.html", context, status=422 if form.errors else 200)


@require_POST
@signed_in
def remove(request: SignedInRequest, limit_id: int) -> HttpResponse:
    """Remove a budget or a cap."""
    limit = next((one for one in _mine(request.user) if one.pk == limit_id), None)
    now = timezone.now()
    if limit is None or not caps.remove(actor=request.user, owner=owners.of_limit(limit), limit_id=limit_id, now=now):
        raise Http404
    messages.success(request, "It is removed.")
    return redirect("settings_budgets")


def _mine(user: User) -> list[Limit]:
    own = Limit.objects.filter(user=user, type__in=caps.BUDGETS)
    of_tokens = Limit.objects.filter(token__user=user, token__revoked_at=None)
    return list((own | of_tokens).select_related("token").order_by("id"))


def told(one: Limit) -> dict[str, Any]:
    """Return a budget or cap in words."""
    amounts = [
        formats.money(one.cost) if one.cost is not None else "",
        f"{formats.count(one.requests)} calls" if one.requests is not None else "",
        f"{formats.count(one.tokens)} tokens" if one.tokens is not None else "",
    ]
    names = {provider.slug: provider.name for provider in registry.all_providers()}
    return {
        "limit": one,
        "amounts": ", ".join(text for text in amounts if text),
        "period": "month" if one.type.startswith("monthly") else "day",
        "provider": names.get(one.provider, one.provider) if one.provider else "all providers",
    }
