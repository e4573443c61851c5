"""Every key that a provider definition may have. The reader, the published JSON schema and its help come from here."""

from typing import Any, get_args

from providers.operations import Dialect
from providers.shape import ONE_LINE, Key, json_schema

DIALECTS = get_args(Dialect)
ERROR_SHAPES = (
    "openai",
    "anthropic",
    "slack",
    "github",
    "telegram",
    "clickup",
    "twocaptcha",
    "google",
    "jsonrpc",
    "problem",
)
FIELD_KINDS = ("key", "google_service_account", "google_refresh_token")
PLACES = ("bearer", "token", "header", "query", "form", "json", "path", "none")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
CATEGORIES = ("valid", "limited", "malformed", "invalid", "expired", "quota", "rate_limited", "unavailable", "timeout")
CHECK_METHODS = ("GET", "POST")
ADAPTERS = ("mail", "mcp", "sandbox")

_HEADER = r"[a-z0-9-]{1,64}"
_PARAMETER = r"[A-Za-z0-9_.-]{1,64}"
_FIELD = r"[a-z][a-z0-9_]{0,31}"
_JSON_PATH = r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){0,7}"
_SEGMENT = r"([A-Za-z0-9_.~:@!$&'()+,;=-]|\{[a-z_]{1,32}\})+"
_PREFIX = r"(/[A-Za-z0-9_.-]+)+"
_URL = r"https://[a-z0-9.-]+"
_ADDRESS = r"https://[a-z0-9.-]+(/[A-Za-z0-9._-]+)+"
_CLIENT_ADDRESS = r"https://[a-z0-9.-]+(/[A-Za-z0-9._-]+)*/\{client_id\}(/[A-Za-z0-9._-]+)*"
_ANY_HOST = r"\*(\.[a-z0-9-]{1,63}){2,4}"

_CONDITION = {
    "status": Key("wholes", "The statuses that it applies to; any if absent.", least=100, most=599),
    "json": Key(
        "texts", "Where in the JSON body to look: names joined by dots. Of several, any may fit.", pattern=_JSON_PATH
    ),
    "header": Key("text", "The response header to look at, in lower case.", pattern=_HEADER),
    "text": Key("flag", "Look at the whole body as text.", default=False),
    "is": Key("values", "The value there is this one, or one of these."),
    "contains": Key("texts", "The text there has one of these in it, in any case.", most=200),
    "ends_with": Key("texts", "The text there ends with one of these.", most=200),
    "exists": Key("flag", "Whether there is anything."),
    "at_most": Key("whole", "The number there is not above this one.", least=-1_000_000, most=1_000_000),
}

FIELD = {
    "name": Key("text", "The field's name in the API.", required=True, pattern=_FIELD),
    "label": Key("text", "What the form calls it.", required=True, most=64, pattern=ONE_LINE),
    "secret": Key("flag", "Whether it is hidden while it is typed.", default=True),
    "required": Key("flag", "Whether it must be filled in.", default=True),
    "free": Key("flag", "Whether it may have spaces and letters beyond ASCII, as passwords do.", default=False),
    "kind": Key(
        "text",
        "What it is: a key as it stands; the file of a Google service account, which signs for access tokens; or a"
        " Google refresh token, which is exchanged for them with the fields client_id and client_secret.",
        default="key",
        choices=FIELD_KINDS,
    ),
    "gives": Key(
        "text", "For one of Google's: the field that its access tokens stand for.", default="", pattern=_FIELD
    ),
    "pattern": Key("text", "A regular expression (Python's) that a value must match whole.", required=True, most=500),
    "example": Key("text", "What a value begins like.", default="", most=100, pattern=ONE_LINE),
    "help": Key("text", "A sentence beside the field.", default="", most=300, pattern=ONE_LINE),
}

AUTH = {
    "place": Key("text", "Where the credential goes.", required=True, choices=PLACES),
    "field": Key("text", "The field whose value goes there.", default="", pattern=_FIELD),
    "name": Key("text", "The header, parameter or member that takes it.", default="", pattern=_PARAMETER),
    "scheme": Key("text", "A word before the value, for place 'header'.", default="", pattern=r"[A-Za-z-]{1,16}"),
    "when": Key("text", "Only for values that match this regular expression whole.", default="", most=500),
    "paths": Key("texts", "Only for these paths; a final /* stands for any rest.", pattern=_PREFIX + r"(/\*)?"),
    "prefixes": Key("texts", "For place 'path': what stands before it, such as /bot.", pattern=_PREFIX),
    "extra": Key("flag", "Goes besides the main one, if its field is filled in.", default=False),
}

USAGE = {
    name: Key("texts", f"Where the answer's JSON has {what}; several are added up.", pattern=_JSON_PATH)
    for name, what in {
        "input_tokens": "the tokens read, cached ones included",
        "output_tokens": "the tokens made",
        "cached_tokens": "how many of those read came from a cache",
        "reasoning_tokens": "how many of those made were spent on thinking",
        "model": "the model's name",
        "cost": "what the call cost in US dollars, as a number or a text",
    }.items()
}

OPERATION = {
    "name": Key(
        "text",
        "What records call it; {segment} stands for that part of the path.",
        required=True,
        pattern=r"[A-Za-z0-9_. -]*(\{[a-z_]{1,32}\}[A-Za-z0-9_. -]*)?",
        most=48,
    ),
    "method": Key("texts", "The methods it takes; * for all.", required=True, choices=(*METHODS, "*")),
    "path": Key(
        "text",
        "What follows the provider's slug: {name} stands for one segment, a final /* for any rest, * for any path.",
        required=True,
        pattern=rf"\*|/|(/{_SEGMENT})+(/\*)?",
        advice="must begin with a slash: fixed segments or {name}, then perhaps /*; or * alone for any path",
    ),
    "dialect": Key("text", "How it is metered.", default="none", choices=DIALECTS),
    "system": Key(
        "flag",
        "Whether the house's key may serve it: only what shows nothing of other people who are served by it.",
        default=False,
    ),
    "requests": Key("whole", "What one call counts as.", default=1, most=1000),
    "unit_price": Key(
        "text",
        'What each call costs in US dollars if it succeeds, as a text such as "0.001".',
        default="",
        pattern=r"\d{1,6}(\.\d{1,9})?",
    ),
    "output_limit": Key(
        "text",
        "The request's member that limits the output, where it is not the dialect's own.",
        default="",
        pattern=_PARAMETER,
    ),
    "ask_usage": Key("flag", "Whether streams are asked to tell their usage (OpenAI's stream_options).", default=True),
    "usage": Key("table", "For dialect 'json': where the answer has its numbers.", keys=USAGE),
}

CHECK = {
    "method": Key("text", "Of the request that proves a credential.", required=True, choices=CHECK_METHODS),
    "path": Key("text", "Its path, with a query if need be.", required=True, pattern=r"/[\x21-\x7e]*", most=500),
    "headers": Key("texts by name", "Headers that it needs.", pattern=r"[\x20-\x7e]*", most=500),
    "body": Key("text", "Its body.", default="", most=2000),
    "field": Key(
        "text",
        "Only for credentials that have this field; the first check that fits is made.",
        default="",
        pattern=_FIELD,
    ),
    "auth": Key("table", "Where the credential goes in this request, if not where it goes otherwise.", keys=AUTH),
    "success": Key("table", "What a good answer must fulfil besides a status from 200 to 299.", keys=_CONDITION),
    "errors": Key(
        "tables",
        "What other answers mean; the first that fits counts. They are looked at before 'success'.",
        keys={
            **_CONDITION,
            "category": Key("text", "What it means.", required=True, choices=CATEGORIES),
            "message": Key(
                "text", "What the person is told; {name} is the provider's.", default="", most=300, pattern=ONE_LINE
            ),
        },
    ),
    "code": Key(
        "texts",
        "Where the JSON body has the provider's own error code; the first one found is shown.",
        pattern=_JSON_PATH,
    ),
    "facts": Key(
        "tables",
        "What a good answer tells about the credential.",
        keys={
            "label": Key("text", "What the fact is called.", required=True, most=64, pattern=ONE_LINE),
            "json": Key("text", "Where the JSON body has it.", default="", pattern=_JSON_PATH),
            "header": Key("text", "The response header that has it.", default="", pattern=_HEADER),
        },
    ),
}

HOST = {
    "prefix": Key(
        "text",
        "Paths that begin with this go to the host; /*.example.com stands for any name before it.",
        required=True,
        pattern=rf"{_PREFIX}|/{_ANY_HOST}",
    ),
    "base_url": Key(
        "text",
        "https://host, or https://*.example.com for the host that the path begins with.",
        required=True,
        pattern=rf"{_URL}|https://{_ANY_HOST}",
    ),
    "strip": Key("flag", "Whether the prefix is left out of the path that is sent.", default=False),
}

OAUTH = {
    "authorize_url": Key("text", "Where a person is asked.", required=True, pattern=_ADDRESS, most=300),
    "token_url": Key(
        "text", "Where codes and refresh tokens are exchanged.", required=True, pattern=_ADDRESS, most=300
    ),
    "field": Key("text", "The field that the access token is.", required=True, pattern=_FIELD),
    "pkce": Key("flag", "Whether the provider takes PKCE (S256).", default=True),
    "client_auth": Key("text", "How the app proves itself.", default="post", choices=("post", "basic")),
    "separator": Key("text", "What stands between scopes.", default=" ", choices=(" ", ",")),
    "parameters": Key(
        "texts by name", "Further parameters of the address where a person is asked.", pattern=r"[\x21-\x7e]*", most=200
    ),
    "scopes": Key(
        "tables",
        "What may be asked for.",
        keys={
            "name": Key(
                "text", "As the provider calls it.", required=True, pattern=r"[\x21\x23-\x5b\x5d-\x7e]+", most=200
            ),
            "about": Key("text", "What it allows, in plain words.", required=True, most=200, pattern=ONE_LINE),
            "chosen": Key("flag", "Whether it is asked for unless the person leaves it out.", default=False),
        },
    ),
    "revoke": Key(
        "table",
        "How a grant is given back.",
        keys={
            "method": Key("text", "Of the request.", default="POST", choices=("POST", "DELETE")),
            "url": Key(
                "text",
                "Its address; {client_id} is the app's.",
                required=True,
                pattern=_ADDRESS + "|" + _CLIENT_ADDRESS,
            ),
            "place": Key("text", "Where the token stands.", required=True, choices=("form", "json", "bearer")),
            "name": Key("text", "The parameter or member that takes it.", default="token", pattern=_PARAMETER),
            "token": Key("text", "Which token, if there are both.", default="access", choices=("access", "refresh")),
            "client_auth": Key("text", "How the app proves itself.", default="none", choices=("none", "basic")),
            "whole": Key(
                "flag",
                "Whether it ends everything that the person granted to the app, and not the token's own grant alone.",
                default=False,
            ),
        },
    ),
}

FAILURE = {
    **_CONDITION,
    "error": Key("text", "Where the JSON body has the error's name.", default="", pattern=_JSON_PATH),
}

REWRITE = {
    "headers": Key("texts", "Response headers whose addresses lead through this server.", pattern=_HEADER),
    "fields": Key(
        "texts",
        "JSON members, at any depth, whose addresses do; * stands for any beginning.",
        pattern=r"\*?[A-Za-z0-9_]*",
    ),
    "tickets": Key(
        "texts",
        "Of these, those that are called without a key: they get a ticket for ten minutes.",
        pattern=r"[A-Za-z0-9_]+",
    ),
}

DEFINITION = {
    "slug": Key("text", "The name in addresses: /gateway/<slug>/...", required=True, pattern=r"[a-z][a-z0-9]{1,31}"),
    "name": Key("text", "The name for people.", required=True, most=64, pattern=ONE_LINE),
    "help_url": Key("text", "The page where a key is made.", default="", pattern=r"https://[\x21-\x7e]+", most=500),
    "help_text": Key("text", "How to get there, in a sentence or two.", required=True, most=600, pattern=ONE_LINE),
    "needs_key": Key("flag", "Whether calls need a credential.", default=True),
    "several": Key("flag", "Whether an owner may keep several credentials, each with a label.", default=False),
    "adapter": Key(
        "text",
        "Code of this server's own that answers in the provider's place; for built-in providers alone.",
        default="",
        choices=ADAPTERS,
    ),
    "base_url": Key(
        "text",
        "https://host of the provider; paths belong to the operations.",
        default="",
        pattern=_URL,
        advice="must be https://host and nothing more; the paths belong to the operations",
    ),
    "error_shape": Key("text", "How this server's own refusals are written.", default="problem", choices=ERROR_SHAPES),
    "price_provider": Key(
        "text",
        "Whose price list applies to tokens (genai-prices' name); none if absent.",
        default="",
        pattern=r"[a-z0-9_-]{1,40}",
    ),
    "strip_headers": Key("texts", "Further request headers that never go to the provider.", pattern=_HEADER),
    "accepts_token_in": Key(
        "texts",
        "Where else the caller's access token may stand: header:<name>, query:<name>, form:<name>, json:<name>, path.",
        pattern=rf"header:{_HEADER}|(query|form|json):{_PARAMETER}|path",
    ),
    "fields": Key("tables", "What a person enters to connect.", keys=FIELD),
    "auth": Key("tables", "Where a credential goes; the first one that fits counts.", keys=AUTH),
    "hosts": Key("tables", "Further hosts of the provider, chosen by how the path begins.", keys=HOST),
    "operations": Key(
        "tables", "What may be called; fixed paths come before patterns, then the order counts.", keys=OPERATION
    ),
    "check": Key("tables", "The cheapest request that proves a credential.", keys=CHECK),
    "oauth": Key("table", "How people connect by consent (OAuth 2), where an app is registered.", keys=OAUTH),
    "failures": Key("tables", "Good statuses that are failures all the same.", keys=FAILURE),
    "rewrite": Key("table", "Addresses of the provider in answers that must lead through this server.", keys=REWRITE),
}


def published() -> dict[str, Any]:
    """Return the JSON schema of a definition, as it is published in the documentation."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "DigitalMe provider definition",
        **json_schema(DEFINITION, "One provider, written in TOML."),
    }
