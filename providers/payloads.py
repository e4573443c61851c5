"""What a request's body says."""

import json
from typing import Any

from digitalme.errors import InvalidRequest
from providers import forms


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that a body is. Raises InvalidRequest."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidRequest("The request's body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The request's body must be a JSON object.")
    return value


def members(body: bytes, content_type: str) -> dict[str, Any]:
    """Return the members of a JSON object, or the fields of a form with files. Raises InvalidRequest."""
    boundary = forms.boundary_of(content_type)
    return forms.values(body, boundary) if boundary else json_object(body)
