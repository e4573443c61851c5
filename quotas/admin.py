"""Tiers, limits and allocations in the admin; leases to be read only."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from digitalme.accounts.models import User
from digitalme.accounts.permissions import Permission
from digitalme.audit import log as trail
from digitalme.audit.actions import Action
from digitalme.errors import InvalidRequest
from quotas import letters, limits, owners, policy, raises
from quotas.adjustment_page import AdjustmentAdmin
from quotas.models import Adjustment, Allocation, Binds, Gift, Lease, Limit, LimitType, Raise, Tier
from quotas.owners import Owner

AMOUNTS = ["requests", "tokens", "cost"]
MANNERS = ["soft", "pace_from", "rollover_percent", "buffer_percent", "buffer_uses"]
OWNERS = ["user", "team", "token"]


def _bound_by(changed: Iterable[Limit]) -> set[Owner]:
    found: set[Owner] = set()
    for limit in changed:
        if limit.tier:
            found.update(owners.of_user(one) for one in policy.users_of(limit.tier))
        else:
            found.add(owners.of_limit(limit))
    return found


def _actor(request: HttpRequest) -> User:
    if not isinstance(request.user, User):
        raise TypeError("The admin is open to signed-in people only.")
    return request.user


def _record_tier(action: Action, tier_id: Any, request: HttpRequest, **facts: Any) -> None:
    trail.record(action, target=f"tier:{tier_id}", subject=f"tier:{tier_id}", actor=_actor(request).pk, **facts)


class LimitInline(admin.TabularInline[Limit, Tier]):
    """The limits of a tier, on its page."""

    model = Limit
    fields = ["type", "provider", "binds", *AMOUNTS, *MANNERS]
    extra = 0


@admin.register(Tier)
class TierAdmin(admin.ModelAdmin[Tier]):
    """Sets of limits."""

    list_display = ["name", "slug", "is_default"]
    list_filter = ["is_default"]
    search_fields = ["name", "slug"]
    inlines = [LimitInline]

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        limits.hold_at_once(policy.users_of(form.instance), now=timezone.now())
        _record_tier(Action.TIER_SET, form.instance.pk, request, count=form.instance.limits.count())

    @transaction.atomic
    def delete_model(self, request: HttpRequest, obj: Tier) -> None:
        gone = obj.pk
        super().delete_model(request, obj)
        _record_tier(Action.TIER_REMOVED, gone, request)

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Tier]) -> None:
        for tier in list(queryset):
            self.delete_model(request, tier)


@admin.register(Limit)
class LimitAdmin(admin.ModelAdmin[Limit]):
    """What a tier, one user in its place, a team, a token or the house is allowed. A change holds at once."""

    list_display = ["type", "provider", "binds", *AMOUNTS, "tier", *OWNERS, "house", "soft"]
    list_filter = ["type", "binds", "tier", "house", "per_member", "provider"]
    list_select_related = ["tier", *OWNERS]
    search_fields = ["user__email", "team__slug", "tier__slug", "provider"]
    raw_id_fields = OWNERS
    fields = ["tier", *OWNERS, "house", "per_member", "type", "provider", "binds", *AMOUNTS, *MANNERS]

    def save_model(self, request: HttpRequest, obj: Limit, form: Any, change: bool) -> None:
        before = list(Limit.objects.filter(pk=obj.pk)) if change else []
        super().save_model(request, obj, form, change)
        limits.hold_at_once_for(_bound_by([*before, obj]), now=timezone.now())
        limits.record(Action.LIMIT_SET, obj, actor=_actor(request))

    def delete_model(self, request: HttpRequest, obj: Limit) -> None:
        self.delete_queryset(request, Limit.objects.filter(pk=obj.pk))

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Limit]) -> None:
        gone = list(queryset.select_related("tier"))
        bound = _bound_by(gone)
        super().delete_queryset(request, queryset)
        limits.hold_at_once_for(bound, now=timezone.now())
        for limit in gone:
            limits.record(Action.LIMIT_REMOVED, limit, actor=_actor(request))


@admin.register(Allocation)
class AllocationAdmin(admin.ModelAdmin[Allocation]):
    """One limit in one period. What is allowed may be changed for this period alone; what is used
    belongs to the ledger, which makes the rows."""

    list_display = [
        *OWNERS,
        "type",
        "provider",
        "binds",
        "period_start",
        "period_end",
        "used_requests",
        "allowed_requests",
        "used_tokens",
        "allowed_tokens",
        "used_cost",
        "allowed_cost",
        "is_active",
    ]
    list_filter = ["type", "binds", "is_active", "provider", "period_start"]
    list_select_related = OWNERS
    search_fields = ["user__email", "team__slug", "provider"]
    date_hierarchy = "period_start"
    fields = [
        tuple(OWNERS),
        "type",
        "provider",
        "binds",
        ("period_start", "period_end"),
        ("allowed_requests", "used_requests"),
        ("allowed_tokens", "used_tokens"),
        ("allowed_cost", "used_cost"),
        ("rollover_requests", "rollover_tokens", "rollover_cost"),
        ("buffer_uses", "buffer_used"),
        "is_active",
    ]
    readonly_fields = [
        *OWNERS,
        "type",
        "provider",
        "binds",
        "period_start",
        "period_end",
        "used_requests",
        "used_tokens",
        "used_cost",
        "rollover_requests",
        "rollover_tokens",
        "rollover_cost",
        "buffer_used",
    ]

    def save_model(self, request: HttpRequest, obj: Allocation, form: Any, change: bool) -> None:
        """Write the changed fields only, or calls that were counted meanwhile would be forgotten."""
        obj.save(update_fields=form.changed_data or ["is_active"])
        trail.record(
            Action.ALLOCATION_SET,
            target=f"allocation:{obj.pk}",
            subject=owners.of_row(obj).place,
            actor=_actor(request).pk,
            type=LimitType(obj.type),
            binds=Binds(obj.binds),
            requests=obj.allowed_requests,
            tokens=obj.allowed_tokens,
            cost=obj.allowed_cost,
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Allocation | None = None) -> bool:
        return False


@admin.register(Lease)
class LeaseAdmin(admin.ModelAdmin[Lease]):
    """Running calls."""

    list_display = [
        "id",
        "user_id",
        "provider",
        "operation",
        "model",
        "key_source",
        "reserved_requests",
        "reserved_tokens",
        "reserved_cost",
        "created_at",
        "expires_at",
    ]
    list_filter = ["provider", "key_source", "created_at"]
    search_fields = ["=id", "=user_id", "=model"]
    search_help_text = "A request or user id, or a model, in full."
    ordering = ["-created_at"]
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Lease | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Lease | None = None) -> bool:
        return False


@admin.register(Gift)
class GiftAdmin(admin.ModelAdmin[Gift]):
    """What people gave to one another and to pools of teams."""

    list_display = ["giver", "receiver", "team", "type", "provider", *AMOUNTS, "ends_at", "created_at"]
    list_filter = ["type", "created_at"]
    list_select_related = ["giver", "receiver", "team"]
    search_fields = ["giver__email", "receiver__email", "team__slug"]
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Gift | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Gift | None = None) -> bool:
        return False


class RaiseForm(forms.ModelForm[Raise]):
    """An answer to a request for more, or a raise that nobody asked for."""

    decision = forms.ChoiceField(choices=[("grant", "Grant"), ("refuse", "Refuse")], widget=forms.RadioSelect)
    until = forms.DateField(
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text="The last day, in the person's time zone.",
    )

    class Meta:
        model = Raise
        fields = ("user", "type", "provider", "extra_requests", "extra_tokens", "extra_cost", "answer")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        asked = self.instance
        if asked._state.adding:
            del self.fields["decision"]
        else:
            self.initial["until"] = asked.asked_until
            for name in AMOUNTS:
                self.initial[f"extra_{name}"] = getattr(asked, f"asked_{name}")

    def clean(self) -> dict[str, Any]:
        """Let what is wrong with it stand on the form."""
        given = super().clean() or {}
        if not self.errors:
            try:
                self._check(given)
            except InvalidRequest as problem:
                raise forms.ValidationError(problem.message) from None
        return given

    def _check(self, given: dict[str, Any]) -> None:
        if given.get("decision") == "refuse":
            if not given.get("answer", "").strip():
                raise InvalidRequest("Say why it is refused: the person reads it.")
            return
        if not given.get("until"):
            raise InvalidRequest("Say until when it is granted.")
        user = given.get("user") or self.instance.user
        type_, provider = given.get("type") or self.instance.type, given.get("provider", self.instance.provider)
        raises.check(user, type_, provider, self.amounts(), given["until"], now=timezone.now())

    def amounts(self) -> raises.Amounts:
        """Return how much is granted."""
        return raises.Amounts(*(self.cleaned_data.get(f"extra_{name}") for name in AMOUNTS))


@admin.register(Raise)
class RaiseAdmin(admin.ModelAdmin[Raise]):
    """More for a while: requests to be answered, and raises. What is granted holds at once and ends by itself."""

    form = RaiseForm
    list_display = ["user", "state", "type", "provider", "wanted", "granted", "ends_at", "created_at"]
    list_filter = ["state", "type", "created_at"]
    list_select_related = ["user"]
    search_fields = ["user__email", "provider"]
    raw_id_fields = ["user"]
    actions = ["end_now"]
    _asked = ("user", "type", "provider", "state", "wanted", "asked_until", "why", "created_at")
    _answer = ("decision", *(f"extra_{name}" for name in AMOUNTS), "until", "answer")
    _answered = (*_asked, "granted", "starts_at", "ends_at", "answer", "answered_by", "answered_at")

    @admin.display(description="asked for")
    def wanted(self, one: Raise) -> str:
        """What was asked for, in words."""
        return letters.amounts(one, "asked") or "-"

    @admin.display(description="granted")
    def granted(self, one: Raise) -> str:
        """What was granted, in words."""
        return letters.amounts(one, "extra") or "-"

    def get_fields(self, request: HttpRequest, obj: Raise | None = None) -> Any:
        """A request with the answer to give; an answered one as it is; a new raise without a request."""
        if obj is None:
            return ("user", "type", "provider", *self._answer[1:])
        return (*self._asked, *self._answer) if self._may_answer(request, obj) else self._answered

    def get_readonly_fields(self, request: HttpRequest, obj: Raise | None = None) -> Any:
        """What was asked for stays as it was asked."""
        if obj is None:
            return ()
        return self._asked if self._may_answer(request, obj) else self._answered

    def get_form(self, request: HttpRequest, obj: Raise | None = None, change: bool = False, **kwargs: Any) -> Any:
        """A raise that nobody asked for is granted; one that is answered has no form."""
        kwargs["fields"] = [name for name in self.get_fields(request, obj) if name in RaiseForm.Meta.fields]
        if obj is not None:
            kwargs["fields"] = [name for name in kwargs["fields"] if name not in self._asked]
            if not self._may_answer(request, obj):
                return super().get_form(request, obj, change=change, form=forms.ModelForm, **kwargs)
        return super().get_form(request, obj, change=change, **kwargs)

    def save_model(self, request: HttpRequest, obj: Raise, form: Any, change: bool) -> None:
        """Carry out the decision, on the request as it is stored."""
        now, actor, given = timezone.now(), _actor(request), form.cleaned_data
        if not change:
            made = raises.give(
                actor=actor,
                user=given["user"],
                type=given["type"],
                provider=given["provider"],
                amounts=form.amounts(),
                until=given["until"],
                answer=given["answer"],
                now=now,
            )
            obj.pk = made.pk
        elif given["decision"] == "refuse":
            raises.refuse(actor=actor, asked=obj, answer=given["answer"], now=now)
        else:
            raises.grant(
                actor=actor, asked=obj, amounts=form.amounts(), until=given["until"], answer=given["answer"], now=now
            )

    def has_delete_permission(self, request: HttpRequest, obj: Raise | None = None) -> bool:
        """What was asked and answered stays on record."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Raise | None = None) -> bool:
        """Only what is not answered yet."""
        allowed = super().has_change_permission(request, obj)
        return allowed and (obj is None or obj.state == Raise.State.ASKED)

    def has_end_permission(self, request: HttpRequest) -> bool:
        """Whether the action is offered."""
        return request.user.has_perm(Permission.CHANGE_RAISES)

    @admin.action(description="End the selected raises now", permissions=["end"])
    def end_now(self, request: HttpRequest, queryset: QuerySet[Raise]) -> None:
        """Take back what running raises allow."""
        chosen = list(queryset.filter(state=Raise.State.GRANTED))
        for one in chosen:
            raises.end(actor=_actor(request), granted=one, now=timezone.now())
            self.log_change(request, one, "Ended.")
        self.message_user(request, f"{len(chosen)} raises are ended.")

    def _may_answer(self, request: HttpRequest, obj: Raise) -> bool:
        return self.has_change_permission(request, obj)


admin.site.register(Adjustment, AdjustmentAdmin)
