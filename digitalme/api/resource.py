"""What all resources share: times in UTC, bodies that are small JSON objects, the last word on unknown addresses."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any, cast

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound, ParseError
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from digitalme import throttling
from digitalme.accounts.models import User
from digitalme.api import throttles
from digitalme.api.errors import TooLarge

MAX_BODY_BYTES = 64 * 1024


class SmallJSON(JSONParser):
    """Strict JSON up to 64 KiB; DRF's own parser reads whatever comes."""

    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the object. Raises TooLarge, and ParseError for anything that is not a JSON object."""
        body = stream.read(MAX_BODY_BYTES + 1)
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge
        try:
            parsed = json.loads(body.decode("utf-8"), parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise ParseError from None
        if not isinstance(parsed, dict):
            raise ParseError
        return parsed


def _refuse(constant: str) -> None:
    raise ValueError(constant)


class Money(serializers.DecimalField):
    """US dollars with nine decimals, as text: a JSON number would be rounded on the way."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_digits=18, decimal_places=9, coerce_to_string=True, **options)


class Resource(APIView):
    """The base of all views: whatever the reader's own time zone, times are told in UTC."""

    parser_classes = (SmallJSON,)
    throttle_classes: Sequence[type[BaseThrottle]] = (throttles.Requests,)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Handle the request in UTC."""
        with timezone.override(UTC):
            return super().dispatch(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Count the request at its address, before anybody is asked who they are. Measure a body that came without
        its length; the framework would take it for an empty one."""
        throttling.take(("api.address", throttles.address_of(request)))
        sent = request._request
        if "Transfer-Encoding" in sent.headers and not sent.META.get("CONTENT_LENGTH"):
            sent._body = sent.read(MAX_BODY_BYTES + 1)
            sent.META["CONTENT_LENGTH"] = str(len(sent._body))
        super().initial(request, *args, **kwargs)

    @property
    def user(self) -> User:
        """The caller."""
        return cast("User", self.request.user)


@extend_schema(exclude=True)
class Nothing(Resource):
    """What is at an address of the API that does not exist."""

    def _answer(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        raise NotFound

    get = post = put = patch = delete = _answer
