"""What is told about raises, to staff that one is asked for and to the person what became of it, and about gifts."""

from datetime import timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import Q
from django.template.loader import render_to_string
from django.utils.timezone import localtime

from digitalme.accounts.models import Membership, User
from digitalme.accounts.permissions import Permission
from digitalme.accounts.teams import MANAGERS
from digitalme.notifications import notices
from digitalme.notifications.kinds import Kind
from digitalme.notifications.notices import Message
from providers import registry
from quotas.models import Gift, LimitType, Raise

GIFTS = "/settings/usage/gifts/"


def tell(answered: Raise) -> None:
    """Tell a person what was granted or refused, in the transaction that answers."""
    zone = ZoneInfo(answered.user.time_zone)
    last = localtime(answered.ends_at - timedelta(microseconds=1), zone) if answered.ends_at else None
    granted = amounts(answered, "extra")
    place = f"{settings.SITE_URL}/settings/usage/limits/"
    limit = limit_name(answered.type, answered.provider)
    text = (
        f"{granted} on top of your {limit}, until {last:%d %B %Y}." if last else f"You asked for more of your {limit}."
    )
    text = f"{text} {answered.answer}".strip()
    people = [answered.user_id]
    _tell("raise_answered", Kind.RAISE, people, answered, text, granted=granted, last=last, place=place)


def tell_staff(asked: Raise) -> None:
    """Tell those who may answer that somebody asks for more."""
    name = Permission.CHANGE_RAISES.rpartition(".")[2]
    staff = User.objects.filter(Q(is_superuser=True) | Q(groups__permissions__codename=name), is_active=True)
    place = f"{settings.SITE_URL}/admin/quotas/raise/{asked.pk}/change/"
    people = list(staff.values_list("id", flat=True).distinct())
    wanted = amounts(asked, "asked")
    text = f"{wanted} more, until {asked.asked_until:%d %B %Y}: {asked.why}"
    _tell("raise_asked", Kind.RAISE_ASKED, people, asked, text, wanted=wanted, place=place)


def tell_of_gift(gift: Gift) -> None:
    """Tell the receiver, or those who look after the team, what was given, and the giver that it was."""
    amount, limit = amounts(gift, ""), limit_name(gift.type, gift.provider)
    facts = {"gift": str(gift.pk), "type": gift.type, "provider": gift.provider}
    if gift.team:
        managers = Membership.objects.filter(team=gift.team, role__in=MANAGERS).exclude(user=gift.giver)
        people, whom = list(managers.values_list("user_id", flat=True)), f"the team {gift.team.name}"
    else:
        people, whom = [gift.receiver_id] if gift.receiver_id else [], gift.receiver.email if gift.receiver else ""
    until = f"It counts on top of the {limit} until {gift.ends_at:%d %B %Y, %H:%M} UTC."
    title = f"{gift.giver.email} gave {whom if gift.team else 'you'} {amount}"
    told = Message(kind=Kind.GIFT, title=title, text=until, link=GIFTS, facts=facts)
    notices.tell(people, told, now=gift.created_at)
    mine = Message(
        kind=Kind.GIFT,
        title=f"You gave {whom} {amount}",
        text=f"It was taken from your {limit}.",
        link=GIFTS,
        facts=facts,
        mailed=False,
    )
    notices.tell([gift.giver_id], mine, now=gift.created_at)


def _tell(name: str, kind: Kind, people: list[UUID], about: Raise, text: str, **facts: Any) -> None:
    context = {"raise": about, "limit": limit_name(about.type, about.provider), **facts}
    subject = " ".join(render_to_string(f"emails/{name}.subject.txt", context).split())
    link = str(facts["place"]).removeprefix(settings.SITE_URL)
    message = Message(
        kind=kind,
        title=subject,
        text=text,
        link=link,
        facts={"raise": str(about.pk), "state": about.state, "type": about.type, "provider": about.provider},
        template=name,
        context=context,
    )
    notices.tell(people, message, now=about.answered_at or about.created_at)


def limit_name(type_: str, provider: str) -> str:
    """Return a limit in words: 'daily limit', 'demo limit for OpenAI'."""
    names = {one.slug: one.name for one in registry.all_providers()}
    kind = str(LimitType(type_).label).lower()
    return f"{kind} limit for {names.get(provider, provider)}" if provider else f"{kind} limit"


def amounts(one: Raise | Gift, prefix: str) -> str:
    """Return amounts in words: '500 requests and 2.50 dollars'."""
    found = []
    for name in ("requests", "tokens", "cost"):
        value = getattr(one, f"{prefix}_{name}" if prefix else name)
        if value is not None:
            found.append(f"{value:,.2f} dollars" if name == "cost" else f"{value:,} {name}")
    return " and ".join(found)
