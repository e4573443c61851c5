"""/api/v1/usage/export/: the caller's calls, or those on a team's keys, as a file."""

from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request

from digitalme import downloads
from digitalme.accounts import teams
from digitalme.api.records import Wanted
from digitalme.api.resource import Resource
from usage import exports
from usage.exports import Format

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
    """Records as a file."""

    content_negotiation_class = AsAsked

    @extend_schema(operation_id="usage_export", parameters=[WantedFile], responses=_FILES)
    def get(self, request: Request) -> StreamingHttpResponse:
        """Send the caller's records as a file, the earliest first, one row a call."""
        given = WantedFile.read(request, self.user)
        team = given.validated_data.get("team")
        whose = {"team_id": teams.managed_place_of(self.user, team).team_id} if team else {"user_id": self.user.pk}
        form = Format(given.validated_data["format"])
        pieces = exports.stream(given.selection(**whose), form)
        return downloads.answer(
            request._request, pieces, media_type=form.media_type, name=f"digitalme-usage.{form.value}"
        )
