"""Tiers, limits and allocations in the admin; leases to be read only."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from digitalme.accounts.models import User
from digitalme.audit import log as trail
from digitalme.audit.actions import Action
from quotas import limits, policy
from quotas.models import Allocation, Binds, Lease, Limit, LimitType, Tier

AMOUNTS = ["requests", "tokens", "cost"]


def _bound_by(changed: Iterable[Limit]) -> set[UUID]:
    users: set[UUID] = set()
    for limit in changed:
        if limit.user_id:
            users.add(limit.user_id)
        elif limit.tier:
            users.update(policy.users_of(limit.tier))
    return users


def _actor(request: HttpRequest) -> User:
    if not isinstance(request.user, User):
        raise TypeError("The admin is open to signed-in people only.")
    return request.user


def _record_tier(action: Action, tier_id: Any, request: HttpRequest, **facts: Any) -> None:
    trail.record(action, target=f"tier:{tier_id}", subject=f"tier:{tier_id}", actor=_actor(request).pk, **facts)


class LimitInline(admin.TabularInline[Limit, Tier]):
    """The limits of a tier, on its page."""

    model = Limit
    fields = ["type", "provider", "binds", *AMOUNTS]
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
    """What a tier, or one user in its place, is allowed. A change holds at once."""

    list_display = ["type", "provider", "binds", *AMOUNTS, "tier", "user"]
    list_filter = ["type", "binds", "tier", "provider"]
    list_select_related = ["tier", "user"]
    search_fields = ["user__email", "tier__slug", "provider"]
    raw_id_fields = ["user"]

    def save_model(self, request: HttpRequest, obj: Limit, form: Any, change: bool) -> None:
        before = list(Limit.objects.filter(pk=obj.pk)) if change else []
        super().save_model(request, obj, form, change)
        limits.hold_at_once(_bound_by([*before, obj]), now=timezone.now())
        limits.record(Action.LIMIT_SET, obj, actor=_actor(request))

    def delete_model(self, request: HttpRequest, obj: Limit) -> None:
        self.delete_queryset(request, Limit.objects.filter(pk=obj.pk))

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Limit]) -> None:
        gone = list(queryset.select_related("tier"))
        users = _bound_by(gone)
        super().delete_queryset(request, queryset)
        limits.hold_at_once(users, now=timezone.now())
        for limit in gone:
            limits.record(Action.LIMIT_REMOVED, limit, actor=_actor(request))


@admin.register(Allocation)
class AllocationAdmin(admin.ModelAdmin[Allocation]):
    """One limit in one period. What is allowed may be changed for this period alone; what is used
    belongs to the ledger, which makes the rows."""

    list_display = [
        "user",
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
    list_select_related = ["user"]
    search_fields = ["user__email", "provider"]
    date_hierarchy = "period_start"
    fields = [
        "user",
        "type",
        "provider",
        "binds",
        ("period_start", "period_end"),
        ("allowed_requests", "used_requests"),
        ("allowed_tokens", "used_tokens"),
        ("allowed_cost", "used_cost"),
        "is_active",
    ]
    readonly_fields = [
        "user",
        "type",
        "provider",
        "binds",
        "period_start",
        "period_end",
        "used_requests",
        "used_tokens",
        "used_cost",
    ]

    def save_model(self, request: HttpRequest, obj: Allocation, form: Any, change: bool) -> None:
        """Write the changed fields only, or calls that were counted meanwhile would be forgotten."""
        obj.save(update_fields=form.changed_data or ["is_active"])
        trail.record(
            Action.ALLOCATION_SET,
            target=f"allocation:{obj.pk}",
            subject=f"user:{obj.user_id}",
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
