"""The part of a team's page that tells of its pool, what each member drew from it, and the team's own budgets."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django import forms

from digitalme.accounts.models import Membership, Team
from digitalme.accounts.teams import MANAGERS
from digitalme.web import budgets, quota_bars
from digitalme.web.quota_bars import Bar
from providers import registry
from quotas import pools
from quotas.caps import Cap
from quotas.models import EACH_PROVIDER, Limit
from quotas.standing import QuotaStanding

KEYS, MEMBER = "keys", "member"
_SOFT_HELP = "Show when it is passed, and stop nothing."


class TeamLimitForm(forms.Form):
    """What is bounded in a team, for how long, and by how much."""

    bounds = forms.ChoiceField(
        label="Bound", choices=[(MEMBER, "what each member draws from the pool"), (KEYS, "calls on the team's keys")]
    )
    provider = forms.ChoiceField(label="At", required=False)
    period = forms.ChoiceField(label="In each", choices=[("day", "day"), ("month", "month")], initial="month")
    cost = forms.DecimalField(label="US dollars", required=False, min_value=0, max_digits=17, decimal_places=9)
    requests = forms.IntegerField(label="Calls", required=False, min_value=0)
    tokens = forms.IntegerField(label="Tokens", required=False, min_value=0)
    soft = forms.BooleanField(label="Warn only", required=False, help_text=_SOFT_HELP)

    def __init__(self, data: Any = None) -> None:
        super().__init__(data, auto_id="limit-%s")
        provider: Any = self.fields["provider"]
        provider.choices = [("", "all providers together"), *((one.slug, one.name) for one in registry.all_providers())]

    def put(self, actor: Any, team: Team, now: datetime) -> None:
        """Set it. Raises as `pools.put`."""
        given, member = self.cleaned_data, self.cleaned_data["bounds"] == MEMBER
        type_ = ("daily" if given["period"] == "day" else "monthly") + ("" if member else "_budget")
        cap = Cap(given["requests"], given["tokens"], given["cost"], given["soft"])
        pools.put(actor=actor, team=team, type=type_, provider=given["provider"], per_member=member, cap=cap, now=now)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a member drew from the pool, held against the caps per member."""

    member: Membership
    bars: list[Bar]


def context_of(place: Membership, members: list[Membership], now: datetime) -> dict[str, Any]:
    """Return what the part of the page needs: members see the pool and themselves, managers everybody."""
    manages = place.role in MANAGERS
    shown = members if manages else [one for one in members if one.user_id == place.user_id]
    found = pools.standings(place.team, members, now)
    drawn = [Drawn(one, _bars(found[one.user_id])) for one in shown]
    return {
        "pool_bars": _bars(found[place.team_id]),
        "drawn": [one for one in drawn if one.bars],
        "team_limits": [_told(one) for one in pools.set_by(place.team)] if manages else [],
        "limiting": TeamLimitForm(),
    }


def _bars(standings: list[QuotaStanding]) -> list[Bar]:
    return [
        replace(
            one, label=one.label.replace("Your budget", "Budget"), binds=one.binds.replace("your own", "the team's")
        )
        for one in quota_bars.bars_from(standings)
    ]


def _told(one: Limit) -> dict[str, Any]:
    told = budgets.told(one)
    return {**told, "provider": "each provider"} if one.provider == EACH_PROVIDER else told
