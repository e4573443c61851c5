"""The schema and the page that shows it, under the same browser rules as every other page."""

from typing import Any

from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.request import Request
from rest_framework.response import Response

from digitalme.api import throttles
from digitalme.api.errors import MEDIA_TYPE

PROBLEM = {
    "type": "object",
    "description": "A problem document (RFC 9457).",
    "required": ["type", "title", "status", "detail", "code", "request_id", "data"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence for people, which says what to do."},
        "code": {"type": "string", "nullable": True, "description": "What programs branch on."},
        "request_id": {"type": "string"},
        "data": {"type": "object", "additionalProperties": {}},
        "errors": {
            "type": "object",
            "description": "What is wrong, by field.",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
    },
}


def describe_problems(result: dict[str, Any], **_context: Any) -> dict[str, Any]:
    """Give every operation of the schema its refusals."""
    result["components"]["schemas"]["Problem"] = PROBLEM
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for methods in result["paths"].values():
        for operation in methods.values():
            operation["responses"]["default"] = {"description": "A refusal.", "content": content}
    return result


class Schema(SpectacularAPIView):
    """The OpenAPI schema, as YAML or JSON."""

    api_version = "1"
    authentication_classes = ()
    throttle_classes = (throttles.SchemaReads,)


class Docs(SpectacularSwaggerSplitView):
    """The schema as a page."""

    template_name = "api/docs.html"
    authentication_classes = ()

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Show the page, without the looser window rule that only OAuth pop-ups need."""
        response: Response = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]
        response.headers.pop("Cross-Origin-Opener-Policy", None)
        return response
