"""/inbox/: what a person was told, what they did not read yet first."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from digitalme.notifications import inbox
from digitalme.notifications.kinds import ABOUT, Kind
from digitalme.notifications.models import Notification
from digitalme.web.access import SignedInRequest, page, signed_in

TEMPLATE = "inbox.html"
PER_PAGE = 20


@require_safe
@signed_in
def show(request: SignedInRequest) -> HttpResponse:
    """Show the inbox."""
    return _answer(request)


@require_POST
@signed_in
def mark_read(request: SignedInRequest, notification_id: UUID) -> HttpResponse:
    """Note that one was read."""
    inbox.mark_read(request.user.pk, notification_id, now=timezone.now())
    return _answer(request) if request.htmx else redirect("inbox")


@require_POST
@signed_in
def mark_all_read(request: SignedInRequest) -> HttpResponse:
    """Note that all were read."""
    inbox.mark_all_read(request.user.pk, now=timezone.now())
    if request.htmx:
        return _answer(request)
    messages.success(request, "Everything is marked as read.")
    return redirect("inbox")


@require_POST
@signed_in
def open_link(request: SignedInRequest, notification_id: UUID) -> HttpResponse:
    """Note that one was read, and lead to where something can be done about it."""
    link = inbox.mark_read(request.user.pk, notification_id, now=timezone.now()).link
    safe = link.startswith("/") and url_has_allowed_host_and_scheme(link, allowed_hosts=None)
    return redirect(link if safe else "inbox")


def _answer(request: SignedInRequest) -> HttpResponse:
    pages = Paginator(inbox.unread_first(request.user.pk), PER_PAGE)
    shown = pages.get_page(request.GET.get("page"))
    context = {
        "notes": [(one, icon_of(one)) for one in shown],
        "shown": shown,
        "any_unread": any(one.read_at is None for one in shown),
    }
    return page(request, TEMPLATE, context, fragment="notes")


def icon_of(one: Notification) -> str:
    """Return the icon of what it is about."""
    known: Any = {kind.value: about.icon for kind, about in ABOUT.items()}
    return str(known.get(one.kind, ABOUT[Kind.QUOTA].icon))
