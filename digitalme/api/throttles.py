"""How often one person may ask. A cache that is away stops nobody: quotas do not hang on it."""

import logging
from typing import Any

from rest_framework.request import Request
from rest_framework.throttling import UserRateThrottle

log = logging.getLogger(__name__)


class FailOpen(UserRateThrottle):
    """Counts by person, whichever of their tokens is used; strangers by address."""

    rate = "600/min"
    scope = "api"

    def allow_request(self, request: Request, view: Any) -> bool:
        """Tell whether there is room; yes if that cannot be known."""
        try:
            return super().allow_request(request, view)
        except Exception:  # whatever the cache's client raises
            log.warning("the cache is away: requests to the API are not counted", exc_info=True)
            return True

    def get_ident(self, request: Request) -> str:
        """The address of the connection: a header with another one is anybody's to write."""
        return str(request.META.get("REMOTE_ADDR", ""))


class KeyTests(FailOpen):
    """Tests of keys reach out to a provider, and must not become a way to try out found ones."""

    rate = "10/min"
    scope = "key-tests"


class SchemaReads(FailOpen):
    """The schema is anybody's to read, but is put together anew each time."""

    rate = "30/min"
    scope = "schema"
