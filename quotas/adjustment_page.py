"""The admin's page of the shares that people get of their tier's allowance."""

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone

from digitalme.accounts.models import User
from digitalme.accounts.permissions import Permission
from quotas import adjustment
from quotas.models import Adjustment


class AdjustmentForm(forms.ModelForm[Adjustment]):
    """A share set by hand needs its bounds and a reason."""

    override_percent = forms.IntegerField(
        required=False,
        min_value=adjustment.LEAST,
        max_value=adjustment.MOST,
        help_text="A share set by hand, from 50 to 150; empty: the computed one.",
    )

    def clean(self) -> dict[str, Any]:
        """Ask for the reason."""
        given = super().clean() or {}
        if given.get("override_percent") is not None and not given.get("override_why", "").strip():
            self.add_error("override_why", "Say why: the person reads it.")
        return given


class AdjustmentAdmin(admin.ModelAdmin[Adjustment]):
    """Which share of the tier's allowance people get, and why; it may be set by hand."""

    form = AdjustmentForm
    list_display = ["user", "effective", "percent", "override_percent", "payment", "computed_at"]
    list_filter = ["payment", "computed_at"]
    list_select_related = ["user"]
    search_fields = ["user__email"]
    raw_id_fields = ["user"]
    fields = ["user", "effective", "why", "computed_at", "payment", "override_percent", "override_why"]

    @admin.display(description="why")
    def why(self, row: Adjustment) -> str:
        """The reasons in words."""
        return " ".join(row.words) or "Nothing speaks for more or less so far."

    def get_readonly_fields(self, request: HttpRequest, obj: Adjustment | None = None) -> Any:
        """Whose it is stays."""
        return ["effective", "why", "computed_at", *(["user"] if obj else [])]

    def save_model(self, request: HttpRequest, obj: Adjustment, form: Any, change: bool) -> None:
        """Let it hold at once."""
        adjustment.override(
            actor=cast("User", request.user),
            row=obj,
            percent=obj.override_percent,
            payment=obj.payment,
            why=obj.override_why,
            now=timezone.now(),
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whoever may change a share may set the first one."""
        return request.user.has_perm(Permission.CHANGE_ADJUSTMENTS)

    def has_delete_permission(self, request: HttpRequest, obj: Adjustment | None = None) -> bool:
        return False
