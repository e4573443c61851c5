"""What people were told, in the admin: to be read, never to be changed."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from digitalme.notifications.models import Letter, Notification


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
    list_filter = ("kind", "level", "created_at")
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
        return letter.notification.get_kind_display()
