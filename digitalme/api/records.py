"""/api/v1/usage/records/: the caller's calls, one row each."""

import contextlib
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from apikeys.resolution import KeySource
from digitalme.accounts.models import User
from digitalme.api.resource import Money, Resource
from digitalme.api.windows import Window
from quotas.ledger import FALLBACK
from usage.exports import Selection
from usage.models import UsageRecord

SOURCES = [*(source.value for source in KeySource), FALLBACK]


class RecordSerializer(serializers.ModelSerializer[UsageRecord]):
    """One call: what it was, what it cost, how it ended."""

    key_source = serializers.ChoiceField(
        choices=["", *SOURCES], help_text="fallback: the demo key, in place of an own one that failed."
    )
    cost = Money(allow_null=True, help_text="US dollars; null if the model has no known price.")
    unpriced = serializers.SerializerMethodField(help_text="The model has no known price, so the cost is unknown.")

    class Meta:
        model = UsageRecord
        fields = (
            "request_id",
            "timestamp",
            "provider",
            "operation",
            "model",
            "key_source",
            "input_tokens",
            "output_tokens",
            "cached_tokens",
            "cache_write_tokens",
            "reasoning_tokens",
            "counted_by",
            "cost",
            "unpriced",
            "price_version",
            "status",
            "http_status",
            "error_type",
            "response_ms",
            "first_byte_ms",
            "tag",
        )
        read_only_fields = fields

    def get_unpriced(self, record: UsageRecord) -> bool:
        """Whether the cost is unknown, which is not the same as nothing."""
        return record.cost is None


class Wanted(Window):
    """Which of the caller's records."""

    model = serializers.CharField(required=False, max_length=128)
    status = serializers.ChoiceField(choices=UsageRecord.Status.choices, required=False)
    key_source = serializers.ChoiceField(choices=SOURCES, required=False)
    token = serializers.UUIDField(required=False, help_text="The id of one of the caller's access tokens.")
    tag = serializers.CharField(required=False, max_length=100)

    def selection(self, *, user_id: UUID | None = None, team_id: UUID | None = None) -> Selection:
        """Return the records that are asked for, of this person or on this team's keys."""
        given = self.validated_data
        return Selection(
            user_id=user_id,
            team_id=team_id,
            token_id=given.get("token"),
            start=given.get("from"),
            end=given.get("to"),
            **self.equal("provider", "model", "key_source", "status", "tag"),
        )


class Pages(CursorPagination):
    """Pages by position in time: the thousandth costs what the first does, and new calls shift none."""

    ordering = ("-timestamp", "-request_id")
    page_size = 50
    max_page_size = 500
    page_size_query_param = "page_size"

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any] | None:
        """Return one page. Raises NotFound for a cursor that was not given out here."""
        with contextlib.suppress(ValidationError, ValueError, OverflowError):
            return super().paginate_queryset(queryset, request, view)
        raise NotFound


class Records(Resource):
    """The caller's records."""

    pagination_class = Pages

    @extend_schema(operation_id="usage_records_list", parameters=[Wanted], responses=RecordSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List the caller's records, newest first."""
        given = Wanted.read(request, self.user)
        pages = self.pagination_class()
        page = pages.paginate_queryset(given.selection(user_id=self.user.pk).records(), request, self)
        return pages.get_paginated_response(RecordSerializer(page, many=True).data)


class Record(Resource):
    """One of the caller's records."""

    @extend_schema(operation_id="usage_records_retrieve", responses=RecordSerializer)
    def get(self, request: Request, request_id: UUID) -> Response:
        """Tell what one call was and cost."""
        return Response(RecordSerializer(get_object_or_404(_records(self.user), pk=request_id)).data)


def _records(user: User) -> QuerySet[UsageRecord]:
    return UsageRecord.objects.filter(user_id=user.pk)
