"""/api/v1/usage/export/ and usage/exports/: the caller's calls, or those on a team's keys, as files."""

from typing import Any
from uuid import UUID

from django.http import StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response

from digitalme import downloads
from digitalme.accounts import teams
from digitalme.accounts.models import Team, User
from digitalme.api.records import Wanted
from digitalme.api.resource import Resource
from usage import exports, large_exports, models
from usage.exports import Format, Selection

_FILES = {(200, form.media_type.split(";")[0]): OpenApiTypes.STR for form in Format}


class WantedFile(Wanted):
    """Which records, as what."""

    format = serializers.ChoiceField(choices=[form.value for form in Format], default=Format.CSV.value)
    team = serializers.SlugField(
        required=False,
        allow_blank=True,
        max_length=64,
        help_text="A team's slug: calls of all its members on its keys, for its owner and admins.",
    )


class AsAsked(BaseContentNegotiation):
    """What comes is what `format` says, whatever the Accept header does; only problems need a renderer."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        """Return the only one."""
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        """Return the only one."""
        return renderers[0], renderers[0].media_type


class Export(Resource):
    """Records as a file, sent while it is made."""

    content_negotiation_class = AsAsked

    @extend_schema(operation_id="usage_export", parameters=[WantedFile], responses=_FILES)
    def get(self, request: Request) -> StreamingHttpResponse:
        """Send the caller's records as a file, the earliest first, one row a call."""
        _, wanted, form = _asked(WantedFile.read(request, self.user), self.user)
        return _file(request, exports.stream(wanted, form), form)


class ExportSerializer(serializers.ModelSerializer[models.Export]):
    """A file that a worker makes, and keeps for a week."""

    format = serializers.ChoiceField(choices=[form.value for form in Format])
    team = serializers.SlugRelatedField[Any](slug_field="slug", read_only=True)
    total = serializers.IntegerField(help_text="Rows that there were when it was begun.")
    percent = serializers.IntegerField(help_text="How much of it is written.")

    class Meta:
        model = models.Export
        fields = ("id", "state", "format", "team", "rows", "total", "percent", "size", "asked_at", "expires_at")
        read_only_fields = fields


class Exports(Resource):
    """What workers make for the caller."""

    @extend_schema(operation_id="usage_exports_list", responses=ExportSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List the caller's exports, the latest first."""
        return Response(ExportSerializer(large_exports.of(self.user).select_related("team"), many=True).data)

    @extend_schema(operation_id="usage_exports_create", request=WantedFile, responses={201: ExportSerializer})
    def post(self, request: Request) -> Response:
        """Have a worker make a file, whatever its length. Ask `usage/exports/<id>/` how far it is."""
        team, wanted, form = _asked(WantedFile.of(request.data, self.user), self.user)
        made = large_exports.ask(actor=self.user, team=team, wanted=wanted, form=form, now=timezone.now())
        return Response(ExportSerializer(made).data, status=status.HTTP_201_CREATED)


class OneExport(Resource):
    """One export of the caller's."""

    @extend_schema(operation_id="usage_exports_retrieve", responses=ExportSerializer)
    def get(self, request: Request, export_id: UUID) -> Response:
        """Tell how far it is."""
        return Response(ExportSerializer(large_exports.find(self.user, export_id)).data)

    @extend_schema(operation_id="usage_exports_delete", responses={204: None})
    def delete(self, request: Request, export_id: UUID) -> Response:
        """Delete it and its file, or stop its making."""
        large_exports.remove(large_exports.find(self.user, export_id))
        return Response(status=status.HTTP_204_NO_CONTENT)


class ExportFile(Resource):
    """The file of an export that is ready."""

    content_negotiation_class = AsAsked

    @extend_schema(operation_id="usage_exports_file", responses=_FILES)
    def get(self, request: Request, export_id: UUID) -> StreamingHttpResponse:
        """Send the file."""
        export, content = large_exports.ready(self.user, export_id, now=timezone.now())
        return _file(request, content, Format(export.format))


def _asked(given: WantedFile, user: User) -> tuple[Team | None, Selection, Format]:
    """Return which records are asked for, as what. Raises NotFound and SecurityViolation about the team."""
    slug, form = given.validated_data.get("team"), Format(given.validated_data["format"])
    if not slug:
        return None, given.selection(user_id=user.pk), form
    team = teams.managed_place_of(user, slug).team
    return team, given.selection(team_id=team.pk), form


def _file(request: Request, pieces: Any, form: Format) -> StreamingHttpResponse:
    name = f"digitalme-usage.{form.value}"
    return downloads.answer(request._request, pieces, media_type=form.media_type, name=name)
