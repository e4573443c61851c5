"""The audit trail, to be read only; above it, what the daily check found."""

import json
from typing import Any

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.timezone import localtime

from digitalme.accounts.models import User
from digitalme.audit import chain
from digitalme.audit.actions import Action, ActorKind
from digitalme.audit.models import AuditEvent, AuditHead


class _Actions(admin.SimpleListFilter):
    title, parameter_name = "action", "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(action.value, action.value) for action in Action]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
        return queryset.filter(action=self.value()) if self.value() else queryset


class _Kinds(admin.SimpleListFilter):
    title, parameter_name = "by", "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind.value, kind.value) for kind in ActorKind]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
        return queryset.filter(actor_kind=self.value()) if self.value() else queryset


@admin.register(AuditEvent)
class AuditEventAdmin(admin.ModelAdmin[AuditEvent]):
    """All events, newest first."""

    list_display = ("sequence", "at", "action", "by", "target", "for_whom", "told", "address")
    list_filter = ("at", _Kinds, _Actions)
    search_fields = ("=target",)
    search_help_text = "An e-mail address, a request id, an address, or an id such as user:… or credential:…, in full."
    ordering = ("-sequence",)
    fields = ("sequence", "at", "action", "by", "target", "for_whom", "told", "address", "request_id", "hash")
    readonly_fields = fields
    actions = None
    show_full_result_count = False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list, and above it whether the daily check found anything wrong."""
        head = AuditHead.objects.first()
        if head and head.problem and head.broken_since:
            since = date_format(localtime(head.broken_since), "DATETIME_FORMAT")
            messages.error(request, f"{head.problem} Known since {since}. See docs/security.md.")
        return super().changelist_view(request, extra_context)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AuditEvent], search_term: str
    ) -> tuple[QuerySet[AuditEvent], bool]:
        """Find what is given in full: each column asked is an index of the table, or all of it once."""
        term = search_term.strip()
        if not term:
            return queryset, False
        places = [term, *(f"user:{pk}" for pk in User.objects.filter(email__iexact=term).values_list("pk", flat=True))]
        wanted = Q(target__in=places) | Q(subject__in=places) | Q(actor__in=places) | Q(address=term)
        return queryset.filter(wanted | Q(request_id__in=[term, chain.reference(term)])), False

    @admin.display(description="by")
    def by(self, event: AuditEvent) -> str:
        """The person, or what it was instead."""
        return _linked(event.actor) if event.actor else event.actor_kind

    @admin.display(description="concerns")
    def for_whom(self, event: AuditEvent) -> str:
        """Whose account, key or limit it was."""
        return _linked(event.subject)

    @admin.display(description="facts")
    def told(self, event: AuditEvent) -> str:
        """The facts, as short as they are."""
        return ", ".join(f"{name}: {_plain(value)}" for name, value in sorted(event.facts.items()))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Events are written by what happens."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEvent | None = None) -> bool:
        """Nobody changes one."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEvent | None = None) -> bool:
        """Nobody deletes one."""
        return False


def _linked(place: str) -> str:
    kind, _, key = place.partition(":")
    if kind != "user":
        return place
    return format_html('<a href="{}">{}</a>', reverse("admin:accounts_user_change", args=[key]), place)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
