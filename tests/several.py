"""A provider that no catalogue has: an owner may keep several keys of it, each of a name and a password."""

import os
import tomllib

import pytest

from providers import manifest, registry
from providers.registry import Provider

NOTES = """
slug = "notes"
name = "Notes"
help_text = "Any account that may read notes."
base_url = "https://notes.example.com"
error_shape = "openai"
several = true

[[fields]]
name = "password"
label = "Password"
pattern = '[!-~]{4,}'

[[fields]]
name = "account"
label = "Account"
secret = false
pattern = '[a-z0-9-]+'

[auth]
place = "bearer"
field = "password"

[[operations]]
name = "list"
method = "GET"
path = "/v1/notes"

[[operations]]
name = "one"
method = "GET"
path = "/v1/notes/*"
"""


def provider(upstream: str = "") -> Provider:
    """Return it, reached at this address if one is given."""
    definition = manifest.parse(tomllib.loads(NOTES), "notes.toml")
    return Provider(definition, upstream or definition.base_url, bool(upstream))


def install(patch: pytest.MonkeyPatch) -> Provider:
    """Let the registry know it until the patch is undone."""
    known, made = registry._current(), provider()
    patch.setitem(known.by_slug, made.slug, made)
    patch.setattr(known, "all", (*known.all, made))
    return made


async def application(scope, receive, send):  # type: ignore[no-untyped-def]
    """The server's entry, for a web process that knows the provider at the address in NOTES_UPSTREAM."""
    from digitalme.asgi import application as product

    known, made = registry._current(), provider(os.environ["NOTES_UPSTREAM"])
    known.by_slug[made.slug] = made
    await product(scope, receive, send)  # type: ignore[no-untyped-call]
