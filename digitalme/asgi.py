"""The server's entry: the gateway's paths go to the gateway, everything else to Django."""

import os

import django
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "digitalme.settings")
django.setup(set_prefix=False)

from digitalme.gateway.app import GatewayApp  # noqa: E402 (models need a set-up Django)

_pages = get_asgi_application()
_gateway = GatewayApp()


# Google's client sends uploads to the root of the host, whatever base it was given.
GOOGLE_UPLOADS = "/upload/"
GOOGLE = "/gateway/google"


async def application(scope, receive, send):  # type: ignore[no-untyped-def]
    """Dispatch one connection; an empty Django view costs more than a whole gateway call may."""
    if scope["type"] in ("lifespan", "websocket") or scope["path"].startswith("/gateway/"):
        await _gateway(scope, receive, send)
    elif scope["path"].startswith(GOOGLE_UPLOADS):
        raw = scope.get("raw_path") or scope["path"].encode()
        await _gateway({**scope, "path": GOOGLE + scope["path"], "raw_path": GOOGLE.encode() + raw}, receive, send)
    else:
        await _pages(scope, receive, send)
