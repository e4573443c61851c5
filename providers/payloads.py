"""What a request's body says."""

import json
from typing import Any

from digitalme.errors import InvalidRequest


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that a body is. Raises InvalidRequest."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidRequest("The request's body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The request's body must be a JSON object.")
    return value
