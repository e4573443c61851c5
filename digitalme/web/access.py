"""Who may see a page, and what every page's request and answer have in common."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render, resolve_url
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django_htmx.http import HttpResponseClientRedirect
from django_htmx.middleware import HtmxDetails

from digitalme.accounts.models import User

P = ParamSpec("P")


class PageRequest(HttpRequest):
    """A request that has passed the middleware."""

    htmx: HtmxDetails


class SignedInRequest(PageRequest):
    """A request of a signed-in person."""

    user: User


Page = Callable[Concatenate[SignedInRequest, P], HttpResponseBase]


def signed_in(view: Page[P]) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
    """Send strangers to the sign-in page, and keep the answer out of every cache.

    HTMX follows redirects by itself and would put the sign-in page into a card, so it is told to
    leave the page instead.
    """

    @never_cache
    @wraps(view)
    def guarded(request: Any, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if request.user.is_authenticated:
            return view(request, *args, **kwargs)
        if request.htmx:
            back = request.htmx.current_url_abs_path or resolve_url("home")
            return HttpResponseClientRedirect(f"{resolve_url('account_login')}?{urlencode({'next': back})}")
        return redirect_to_login(request.get_full_path())

    return guarded


def page(
    request: PageRequest, template: str, context: dict[str, Any], *, fragment: str = "", status: int = 200
) -> HttpResponse:
    """Render a page, or for HTMX only the named fragment of it."""
    name = f"{template}#{fragment}" if fragment and request.htmx else template
    return render(request, name, context, status=status)
