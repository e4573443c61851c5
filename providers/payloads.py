"""What a body says."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson

from digitalme.errors import InvalidRequest
from providers import forms
from providers.operations import Operation


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that a body is. Raises InvalidRequest."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidRequest("The request's body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The request's body must be a JSON object.")
    return value


def parsed(text: bytes) -> Any:
    """Return the JSON value of a provider's answer, for its figures alone: integers beyond 64 bits come as floats.

    Raises ValueError or RecursionError if it is none.
    """
    try:
        return orjson.loads(text)
    except ValueError:
        return json.loads(text)  # which is slower, and takes halves of surrogate pairs and NaN as providers write them


def read(operation: Operation, body: bytes, content_type: str, query: str) -> Mapping[str, Any]:
    """Return what a request says, as its operation's way of metering reads it: JSON; the fields of a form, files as
    their lengths; for captchas all parameters, wherever they stand. Raises InvalidRequest."""
    match operation.dialect:
        case "openai_later" | "anthropic_later":
            return {}
        case "captcha":
            return {**dict(parse_qsl(query)), **_fields(body, content_type)}
        case "openai_images" | "openai_speech" | "openai_transcription" if forms.boundary_of(content_type):
            return forms.values(body, forms.boundary_of(content_type))
        case "json" | "jsonrpc" if not body:
            return {}
    return json_object(body)


def _fields(body: bytes, content_type: str) -> dict[str, Any]:
    """Return the fields of a form of either kind, or of JSON; of anything else none."""
    if content_type.lower().startswith(forms.PLAIN):
        return dict(parse_qsl(body.decode("latin-1")))
    try:
        boundary = forms.boundary_of(content_type)
        return forms.values(body, boundary) if boundary else json_object(body)
    except InvalidRequest:
        return {}
