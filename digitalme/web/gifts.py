"""/settings/usage/gifts/: give a part of an allowance to people and pools of teams; what was given and received."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from digitalme.accounts.models import Membership, User
from digitalme.errors import InvalidRequest, NotFound, QuotaExceeded
from digitalme.web import quota_bars
from digitalme.web.access import SignedInRequest, page, signed_in
from digitalme.web.quota_bars import Bar
from quotas import gifts, letters, owners
from quotas.models import Gift
from quotas.owners import Owner
from quotas.raises import Amounts

TEMPLATE = "settings/gifts.html"
SHOWN = 20


class GiftForm(forms.Form):
    """Of which allowance, how much, to whom."""

    limit = forms.ChoiceField(label="Of which allowance")
    amount = forms.DecimalField(
        label="How much",
        min_value=Decimal("0.01"),
        max_digits=16,
        decimal_places=2,
        help_text="Requests, tokens or dollars of what is left in this period.",
    )
    to = forms.ChoiceField(label="To")

    def __init__(self, data: Any = None, *, bars: list[Bar], places: list[Membership], user: User) -> None:
        super().__init__(data, auto_id="gift-%s")
        limit: Any = self.fields["limit"]
        limit.choices = [
            (bar.value, f"{bar.label} ({bar.used_text} of {bar.allowed_text} used)")
            for bar in bars
            if bar.type in gifts.TYPES
        ]
        to: Any = self.fields["to"]
        pools = {place.team_id: place.team.name for place in places}
        people = {place.user_id: place.user.email for place in places if place.user_id != user.pk}
        to.choices = [
            *((f"user:{one}", email) for one, email in sorted(people.items(), key=lambda item: item[1])),
            *((f"team:{one}", f"the pool of {name}") for one, name in pools.items()),
        ]

    @property
    def question(self) -> str:
        """What is to be confirmed, in words."""
        limit, to = dict(self.fields["limit"].choices), dict(self.fields["to"].choices)  # type: ignore[attr-defined]
        _, _, amounts = self.wanted()
        told = letters.amounts(Gift(requests=amounts.requests, tokens=amounts.tokens, cost=amounts.cost), "")
        return f"Give {told} of “{limit[self.cleaned_data['limit']]}” to {to[self.cleaned_data['to']]}?"

    def wanted(self) -> tuple[str, str, Amounts]:
        """Return type and provider of the allowance, and how much of it. Raises InvalidRequest for a piece of a
        request or token."""
        return quota_bars.part_of(self.cleaned_data["limit"], self.cleaned_data["amount"])

    def receiver(self) -> Owner:
        """Return who gets it."""
        kind, _, id_ = self.cleaned_data["to"].partition(":")
        return owners.of_team(UUID(id_)) if kind == "team" else owners.of_user(UUID(id_))


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def show(request: SignedInRequest) -> HttpResponse:
    """Show gifts; a form that comes back is asked about first, and carried out once it is confirmed."""
    user, now = request.user, timezone.now()
    bars, places = quota_bars.bars_of(user, now=now), gifts.places_of(user)
    form, question = GiftForm(request.POST or None, bars=bars, places=places, user=user), ""
    if request.method == "POST" and form.is_valid():
        try:
            type_, provider, amounts = form.wanted()
            if request.POST.get("confirmed"):
                gifts.give(actor=user, to=form.receiver(), type=type_, provider=provider, amounts=amounts, now=now)
                messages.success(request, "It is given, and counts from the next call on. Both of you are told.")
                return redirect("settings_gifts")
            question = form.question
        except (InvalidRequest, NotFound, QuotaExceeded) as problem:
            name = problem.data.get("field")
            form.add_error(name if name in form.fields else None, problem.message)
    context = {
        "gifts": [_told(one, user) for one in gifts.gifts_of(user)[:SHOWN]],
        "gift_form": form,
        "question": question,
        "alone": not places,
    }
    return page(request, TEMPLATE, context, status=422 if form.errors else 200)


def _told(one: Gift, user: User) -> dict[str, Any]:
    return {
        "gift": one,
        "mine": one.giver_id == user.pk,
        "amounts": letters.amounts(one, ""),
        "limit": letters.limit_name(one.type, one.provider),
        "over": one.ends_at <= timezone.now(),
    }
