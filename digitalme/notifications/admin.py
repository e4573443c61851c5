"""What people were told, in the admin: to be read, never to be changed."""

from typing import Any
from urllib.parse import urlsplit

from django.contrib import admin
from django.http import HttpRequest

from digitalme.notifications.models import Delivery, Letter, Notification, Webhook


class _ReadOnly(admin.ModelAdmin[Any]):
    actions = None
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Notification)
class NotificationAdmin(_ReadOnly):
    """What people were told."""

    list_display = ("created_at", "user", "kind", "level", "title", "in_inbox", "read_at")
    list_filter = (("kind", admin.AllValuesFieldListFilter), "level", "created_at")
    list_select_related = ("user",)
    search_fields = ("=user__email", "title")
    search_help_text = "An address in full, or words of the title."


@admin.register(Letter)
class LetterAdmin(_ReadOnly):
    """Mails that are not sent yet. What stands in them is for their readers."""

    list_display = ("notification_id", "reader", "kind", "attempts", "next_try_at")
    list_select_related = ("notification__user",)
    fields = ("reader", "kind", "attempts", "next_try_at")
    ordering = ("next_try_at",)

    @admin.display(description="to")
    def reader(self, letter: Letter) -> str:
        """To whom it goes."""
        return str(letter.notification.user)

    @admin.display(description="kind")
    def kind(self, letter: Letter) -> str:
        """What it is about."""
        return letter.notification.kind


@admin.register(Webhook)
class WebhookAdmin(_ReadOnly):
    """Where people have their events posted. Of the address only the host is shown: the rest may be confidential."""

    list_display = ("name", "user", "host", "is_active", "failing_since", "ended")
    list_filter = ("is_active",)
    list_select_related = ("user",)
    fields = ("user", "name", "host", "is_active", "failing_since", "ended", "created_at")
    search_fields = ("=user__email",)
    search_help_text = "An address in full."

    @admin.display(description="host")
    def host(self, webhook: Webhook) -> str:
        """Where it leads."""
        return urlsplit(webhook.url).netloc


@admin.register(Delivery)
class DeliveryAdmin(_ReadOnly):
    """What came of events; what stood in them is for their readers."""

    list_display = ("created_at", "webhook", "event", "state", "attempts", "answer_status", "problem", "next_try_at")
    list_filter = ("state", "event", "created_at")
    list_select_related = ("webhook",)
    fields = (*list_display, "took_ms", "tried_at")
