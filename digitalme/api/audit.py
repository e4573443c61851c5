"""/api/v1/audit/: what happened to the caller's account, and for staff what happened at all."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from digitalme.accounts.models import User
from digitalme.accounts.permissions import Permission
from digitalme.accounts.tokens import Identity
from digitalme.api.records import Pages
from digitalme.api.resource import Resource
from digitalme.api.windows import Window
from digitalme.audit import reading
from digitalme.audit.actions import Action, ActorKind
from digitalme.audit.models import AuditEvent
from digitalme.audit.reading import Seen


class EventSerializer(serializers.ModelSerializer[AuditEvent]):
    """One thing that happened."""

    action = serializers.ChoiceField(choices=[action.value for action in Action])
    by = serializers.SerializerMethodField(
        help_text="you, staff, team (who looks after yours), user, command (an operator), task (a job), gateway "
        "(a call) or visitor (not signed in)."
    )
    actor = serializers.SerializerMethodField(help_text="user:ID; empty if unknown, or somebody else's to know.")
    address = serializers.SerializerMethodField(help_text="The client's address, as far as it is yours to know.")
    request_id = serializers.SerializerMethodField(help_text="The request's id, or x- and a digest of a foreign one.")
    facts = serializers.DictField(help_text="Facts of the event: numbers and words of the program's own.")

    class Meta:
        model = AuditEvent
        fields = (
            "sequence",
            "id",
            "at",
            "action",
            "by",
            "actor",
            "target",
            "subject",
            "address",
            "request_id",
            "facts",
        )
        read_only_fields = fields

    def _seen(self, event: AuditEvent) -> Seen:
        reader: UUID | None = self.context.get("reader")
        if reader is None:
            return Seen(event.actor_kind, event.actor, event.address, event.request_id)
        return reading.seen_by(event, reader)

    def get_by(self, event: AuditEvent) -> str:
        """Who did it, in a word."""
        return self._seen(event).by

    def get_actor(self, event: AuditEvent) -> str:
        """Who did it, by id."""
        return self._seen(event).actor

    def get_address(self, event: AuditEvent) -> str:
        """From where."""
        return self._seen(event).address

    def get_request_id(self, event: AuditEvent) -> str:
        """In which request."""
        return self._seen(event).request_id


class Wanted(Window):
    """Which events."""

    provider = None  # type: ignore[assignment]  # an event has no column for it
    action = serializers.ChoiceField(choices=[action.value for action in Action], required=False)
    actor = serializers.CharField(
        required=False, max_length=64, help_text="A person's id, or command, task, gateway or visitor."
    )
    all = serializers.BooleanField(
        required=False,
        default=False,
        help_text="Everybody's events: for signed-in staff who may read the audit trail, not for access tokens.",
    )

    def validate_actor(self, value: str) -> dict[str, str]:
        """Take an id or a kind."""
        if value in {kind.value for kind in ActorKind}:
            return {"actor_kind": value}
        try:
            return {"actor": f"user:{UUID(value)}"}
        except ValueError:
            raise serializers.ValidationError("Give a person's id, or command, task, gateway or visitor.") from None

    @property
    def lookups(self) -> Mapping[str, Any]:
        """The filter that was asked for."""
        return {**self.range("at"), **self.equal("action"), **self.validated_data.get("actor", {})}


class EventPages(Pages):
    """Pages by position in the trail."""

    ordering = ("-sequence",)  # type: ignore[assignment]


class Audit(Resource):
    """The caller's events, or everybody's."""

    pagination_class = EventPages

    @extend_schema(operation_id="audit_list", parameters=[Wanted], responses=EventSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List events, newest first."""
        given = Wanted.read(request, self.user)
        everybody = given.validated_data["all"]
        if everybody and not _may_read_all(request, self.user):
            raise PermissionDenied("Everybody's events are for signed-in staff who may read the audit trail.")
        found = reading.all_events() if everybody else reading.concerning(self.user.pk)
        pages = self.pagination_class()
        page = pages.paginate_queryset(found.filter(**given.lookups), request, self)
        reader = None if everybody else self.user.pk
        return pages.get_paginated_response(EventSerializer(page, many=True, context={"reader": reader}).data)


def _may_read_all(request: Request, user: User) -> bool:
    """A token acts for its owner alone, whatever role that is."""
    return not isinstance(request.auth, Identity) and user.has_perm(Permission.VIEW_AUDIT_EVENTS)
