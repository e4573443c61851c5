"""/api/v1/notifications/: what the caller was told."""

import contextlib
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from digitalme.api.resource import Resource
from digitalme.notifications import inbox
from digitalme.notifications.models import Notification


class NotificationSerializer(serializers.ModelSerializer[Notification]):
    """One thing that the caller was told."""

    class Meta:
        model = Notification
        fields = ("id", "kind", "level", "title", "text", "link", "created_at", "read_at")
        read_only_fields = fields


class Pages(CursorPagination):
    """Pages by position in time."""

    ordering = ("-created_at", "-id")
    page_size = 50
    max_page_size = 200
    page_size_query_param = "page_size"

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any] | None:
        """Return one page. Raises NotFound for a cursor that was not given out here."""
        with contextlib.suppress(ValidationError, ValueError, OverflowError):
            return super().paginate_queryset(queryset, request, view)
        raise NotFound


class CountSerializer(serializers.Serializer[Any]):
    """How many."""

    marked = serializers.IntegerField(help_text="How many had not been read before.")


class Notifications(Resource):
    """All that is in the caller's inbox."""

    pagination_class = Pages

    @extend_schema(
        operation_id="notifications_list",
        parameters=[OpenApiParameter("unread", bool, description="true: only what is not read yet.")],
        responses=NotificationSerializer(many=True),
    )
    def get(self, request: Request) -> Response:
        """List what the caller was told, newest first."""
        found = inbox.of(self.user.pk)
        if request.query_params.get("unread", "").lower() in ("true", "1"):
            found = found.filter(read_at=None)
        pages = self.pagination_class()
        page = pages.paginate_queryset(found, request, self)
        return pages.get_paginated_response(NotificationSerializer(page, many=True).data)


class AllRead(Resource):
    """The whole inbox, read."""

    @extend_schema(operation_id="notifications_read_all", request=None, responses=CountSerializer)
    def post(self, request: Request) -> Response:
        """Mark all of the caller's notifications as read."""
        return Response({"marked": inbox.mark_all_read(self.user.pk, now=timezone.now())})


class OneNotification(Resource):
    """One of the caller's notifications."""

    @extend_schema(operation_id="notifications_retrieve", responses=NotificationSerializer)
    def get(self, request: Request, notification_id: UUID) -> Response:
        """Tell one of them."""
        return Response(NotificationSerializer(get_object_or_404(inbox.of(self.user.pk), pk=notification_id)).data)


class Read(Resource):
    """One of the caller's notifications, read."""

    @extend_schema(operation_id="notifications_read", request=None, responses=NotificationSerializer)
    def post(self, request: Request, notification_id: UUID) -> Response:
        """Mark one as read. The time of the first reading stays."""
        return Response(NotificationSerializer(inbox.mark_read(self.user.pk, notification_id, now=timezone.now())).data)
