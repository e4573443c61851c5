"""What every page and API request passes through; all of it works in both modes, sync and async."""

import contextlib
import inspect
import logging
import re
import zoneinfo
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.decorators import sync_and_async_middleware
from whitenoise.middleware import WhiteNoiseMiddleware

from digitalme import logs, throttling
from digitalme.audit import context
from digitalme.database import uuid7
from digitalme.errors import DigitalMeError, RateLimited

log = logging.getLogger(__name__)
_USABLE_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
Handler = Callable[[HttpRequest], Any]


def _around(
    get_response: Handler, before: Callable[[HttpRequest], None], after: Callable[[HttpRequest, HttpResponse], None]
) -> Handler:
    """Return a middleware for either mode that calls `before` and `after` around the view."""
    if iscoroutinefunction(get_response):

        async def asynchronous(request: HttpRequest) -> HttpResponse:
            before(request)
            response: HttpResponse = await get_response(request)
            after(request, response)
            return response

        return asynchronous

    def synchronous(request: HttpRequest) -> HttpResponse:
        before(request)
        response: HttpResponse = get_response(request)
        after(request, response)
        return response

    return synchronous


@sync_and_async_middleware
def request_id(get_response: Handler) -> Handler:
    """Give every request an id: in its log lines, and in the X-Request-Id of its answer."""

    def before(request: HttpRequest) -> None:
        given = request.headers.get("X-Request-Id", "")
        known = _USABLE_ID.fullmatch(given) is not None
        request.id = given if known else str(uuid7())  # type: ignore[attr-defined]
        context.enter(
            address=request.META.get("REMOTE_ADDR", ""),
            request_id=request.id,  # type: ignore[attr-defined]
            own_id=not known,
            person=lambda: getattr(request, "user", None),
        )
        structlog.contextvars.clear_contextvars()
        logs.forget()
        structlog.contextvars.bind_contextvars(request_id=request.id)  # type: ignore[attr-defined]

    def after(request: HttpRequest, response: HttpResponse) -> None:
        response["X-Request-Id"] = request.id  # type: ignore[attr-defined]
        context.leave()

    return _around(get_response, before, after)


NO_DEVICES = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"


@sync_and_async_middleware
def headers(get_response: Handler) -> Handler:
    """Keep pages and answers out of every cache unless they say otherwise, and devices out of reach."""

    def after(request: HttpRequest, response: HttpResponse) -> None:
        response.headers.setdefault("Cache-Control", "private, no-store")
        response.headers.setdefault("Permissions-Policy", NO_DEVICES)

    return _around(get_response, lambda _request: None, after)


class static(WhiteNoiseMiddleware):  # type: ignore[misc]  # it comes without types
    """Serve the style sheets, scripts and icons, in either mode; the stock class knows one of them only,
    and answers with a stream that an async server has to gather first."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Handler) -> None:
        super().__init__(get_response)
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        return self._asynchronous(request) if iscoroutinefunction(self) else super().__call__(request)

    async def _asynchronous(self, request: HttpRequest) -> Any:
        answer = super().__call__(request)
        return await answer if inspect.isawaitable(answer) else answer

    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> HttpResponse:
        """Return a file as one piece; all of ours are small."""
        found = static_file.get_response(request.method, request.META)
        with found.file or contextlib.nullcontext() as file:
            content = file.read() if file else b""
        return HttpResponse(content, status=int(found.status), headers=dict(found.headers))


@sync_and_async_middleware
def time_zone(get_response: Handler) -> Handler:
    """Show times in the signed-in person's zone."""
    if iscoroutinefunction(get_response):

        async def asynchronous(request: HttpRequest) -> Any:
            with timezone.override(_zone(await request.auser())):
                return await get_response(request)

        return asynchronous

    def synchronous(request: HttpRequest) -> Any:
        with timezone.override(_zone(request.user)):
            return get_response(request)

    return synchronous


def _zone(user: Any) -> zoneinfo.ZoneInfo:
    """Return the person's zone; one that the machine's time zone data lacks must not lock anybody out."""
    try:
        return zoneinfo.ZoneInfo(getattr(user, "time_zone", "UTC"))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return zoneinfo.ZoneInfo("UTC")


class _Hooks:
    """A middleware that only has hooks, in either mode."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        return self.get_response(request)  # type: ignore[no-any-return]


class sign_ins(_Hooks):
    """Count what is sent to the pages on which people sign in, sign up or reset a password, by address."""

    def process_view(self, request: HttpRequest, *_view: Any) -> HttpResponse | None:
        """Answer in the view's place if there was too much of it."""
        if request.method != "POST" or not request.path.startswith("/accounts/"):
            return None
        try:
            throttling.take(("login.address", throttling.address(request.META.get("REMOTE_ADDR", ""))))
        except RateLimited as refusal:
            return _told(request, refusal)
        return None


def _told(request: HttpRequest, error: DigitalMeError) -> HttpResponse:
    log.info("refused code=%s path=%s", error.code, request.path)
    template = "errors/fragment.html" if getattr(request, "htmx", False) else "errors/error.html"
    response = render(request, template, {"error": error}, status=error.status)
    if "retry_after" in error.data:
        response["Retry-After"] = str(error.data["retry_after"])
    return response


class errors(_Hooks):
    """Turn a DigitalMeError that a view let through into a page, or a fragment for HTMX."""

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Render our own errors; anything else is a fault and stays one."""
        if not isinstance(exception, DigitalMeError):
            return None
        return _told(request, exception)
