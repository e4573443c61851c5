"""Mails about raises: to staff that one is asked for, to the person what became of it."""

import logging
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.mail import EmailMessage
from django.db.models import Q
from django.template.loader import render_to_string
from django.utils.timezone import localtime

from digitalme.accounts.models import User
from digitalme.accounts.permissions import Permission
from providers import registry
from quotas.models import LimitType, Raise

log = logging.getLogger(__name__)


def tell(answered: Raise) -> None:
    """Tell a person what was granted or refused."""
    zone = ZoneInfo(answered.user.time_zone)
    last = localtime(answered.ends_at - timedelta(microseconds=1), zone) if answered.ends_at else None
    granted = amounts(answered, "extra")
    place = f"{settings.SITE_URL}/settings/usage/"
    _send("raise_answered", [answered.user], answered, granted=granted, last=last, place=place)


def tell_staff(asked: Raise) -> None:
    """Tell those who may answer that somebody asks for more."""
    name = Permission.CHANGE_RAISES.rpartition(".")[2]
    staff = User.objects.filter(Q(is_superuser=True) | Q(groups__permissions__codename=name), is_active=True)
    place = f"{settings.SITE_URL}/admin/quotas/raise/{asked.pk}/change/"
    people = list(staff.order_by("email").distinct())
    _send("raise_asked", people, asked, wanted=amounts(asked, "asked"), place=place)


def _send(name: str, people: list[User], about: Raise, **facts: Any) -> None:
    """Send a letter to each by itself. What was decided stands although no mail can be sent: the page says it too."""
    context = {"raise": about, "limit": limit_name(about.type, about.provider), **facts}
    subject = " ".join(render_to_string(f"emails/{name}.subject.txt", context).split())
    body = render_to_string(f"emails/{name}.txt", context)
    try:
        for person in people:
            if person.is_active:
                EmailMessage(subject, body, to=[person.email]).send()
    except OSError as problem:  # which what a mail server answers is too
        log.warning("No letter could be sent about raise %s: %s", about.pk, type(problem).__name__)


def limit_name(type_: str, provider: str) -> str:
    """Return a limit in words: 'daily limit', 'demo limit for OpenAI'."""
    names = {one.slug: one.name for one in registry.all_providers()}
    kind = str(LimitType(type_).label).lower()
    return f"{kind} limit for {names.get(provider, provider)}" if provider else f"{kind} limit"


def amounts(one: Raise, prefix: str) -> str:
    """Return amounts in words: '500 requests and 2.50 dollars'."""
    found = []
    for name in ("requests", "tokens", "cost"):
        value = getattr(one, f"{prefix}_{name}")
        if value is not None:
            found.append(f"{value:,.2f} dollars" if name == "cost" else f"{value:,} {name}")
    return " and ".join(found)
