"""How often a program may ask: counted by access token, by person whichever token is used, and by address."""

from typing import Any

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from digitalme import throttling
from digitalme.accounts.tokens import Identity


def address_of(request: Any) -> str:
    """The address of the connection: a header with another one is anybody's to write."""
    return throttling.address(str(request.META.get("REMOTE_ADDR", "")))


class Requests(BaseThrottle):
    """Counts by token and person. The address was counted before anybody was asked who they are."""

    extra: tuple[str, ...] = ()

    def allow_request(self, request: Request, view: Any) -> bool:
        """Count the request. Raises RateLimited."""
        person = str(request.user.pk) if request.user.is_authenticated else ""
        token = str(request.auth.token_id) if isinstance(request.auth, Identity) else ""
        narrower = [(kind, person or address_of(request)) for kind in self.extra]
        throttling.take(*narrower, ("api.token", token), ("api.user", person))
        return True


class KeyTests(Requests):
    """Tests of keys reach out to a provider, and must not become a way to try out found ones."""

    extra = ("api.key_tests",)


class WebhookTests(Requests):
    """Tests of webhooks reach out to wherever somebody likes."""

    extra = ("api.webhook_tests",)


class SchemaReads(Requests):
    """The schema is anybody's to read, but is put together anew each time."""

    extra = ("api.schema",)
