"""The part of /settings/usage/limits/ that asks for more than a limit allows, and tells what became of it."""

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.utils import timezone

from digitalme.web import quota_bars
from digitalme.web.quota_bars import Bar
from quotas import letters
from quotas.models import Raise
from quotas.raises import Amounts

SHOWN = 8
USUAL_DAYS = 6
_TONES = {"asked": "info", "granted": "ok", "refused": "bad"}


class RaiseForm(forms.Form):
    """Which limit, how much more, until when, why."""

    limit = forms.ChoiceField(label="Of which limit")
    amount = forms.DecimalField(
        label="How much more",
        min_value=Decimal("0.01"),
        max_digits=16,
        decimal_places=2,
        help_text="On top of what it allows now, in each of its periods: requests, tokens or dollars.",
    )
    until = forms.DateField(
        label="Until the end of",
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text="The last day on which you need it.",
    )
    why = forms.CharField(label="What for", max_length=500, help_text="Whoever decides reads it.")

    def __init__(self, data: Any = None, *, bars: list[Bar]) -> None:
        day = timezone.localdate() + timedelta(days=USUAL_DAYS)
        super().__init__(data, auto_id="raise-%s", initial={"until": day})
        field: Any = self.fields["limit"]
        field.choices = [
            (bar.value, f"{bar.label} (now {bar.allowed_text})") for bar in sorted(bars, key=lambda one: one.label)
        ]

    def wanted(self) -> tuple[str, str, Amounts]:
        """Return type and provider of the limit, and how much more of it. Raises InvalidRequest for a piece of a
        request or token."""
        return quota_bars.part_of(self.cleaned_data["limit"], self.cleaned_data["amount"])


def context_of(told: Iterable[Raise], bars: list[Bar], form: RaiseForm | None = None) -> dict[str, Any]:
    """Return what the part of the limits page needs that tells about raises."""
    return {"raises": [_told(one) for one in told], "raise_form": form or RaiseForm(bars=bars)}


def _told(one: Raise) -> dict[str, Any]:
    prefix = "extra" if one.extra_requests or one.extra_tokens or one.extra_cost else "asked"
    running = one.state == Raise.State.GRANTED and one.ends_at is not None and one.ends_at > timezone.now()
    ended = one.state == Raise.State.GRANTED and not running
    return {
        "raise": one,
        "amounts": letters.amounts(one, prefix),
        "asked": letters.amounts(one, "asked"),
        "limit": letters.limit_name(one.type, one.provider),
        "state": "Ended" if ended else one.get_state_display(),
        "tone": "plain" if ended else _TONES.get(one.state, "plain"),
        "last_day": one.ends_at - timedelta(microseconds=1) if one.ends_at else None,
    }
