"""What those whom a key concerns are told about it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Q
from django.template.loader import render_to_string

from apikeys.models import Credential
from digitalme.accounts.models import Membership, User
from digitalme.accounts.permissions import Permission
from digitalme.notifications import notices
from digitalme.notifications.kinds import Kind
from digitalme.notifications.models import Level
from digitalme.notifications.notices import Message
from providers import registry

_HOUSE = "/admin/apikeys/credential/"


def tell(
    name: str, credential: Credential, *, kind: Kind, level: Level, text: str, now: datetime, **facts: Any
) -> bool:
    """Tell those whom a key concerns, by mail with the letter `emails/NAME.txt`; `text` is what the inbox says below
    the letter's subject. Tells whether anybody was there to be told. To be called in the transaction that notes it."""
    context = {
        "provider": _names().get(credential.provider, credential.provider),
        "credential": credential,
        "whose": whose(credential),
        "place": f"{settings.SITE_URL}{place(credential)}",
        **facts,
    }
    message = Message(
        kind=kind,
        level=level,
        title=_subject(name, context),
        text=text,
        link=place(credential),
        facts={"provider": credential.provider, "label": credential.label},
        template=name,
        context=context,
    )
    return bool(notices.tell(_people(credential), message, now=now))


def tell_house(name: str, slug: str, *, text: str, now: datetime, **facts: Any) -> None:
    """Tell those who manage the house's keys that one of its environment does not work, as `tell` does."""
    context = {"provider": _names().get(slug, slug), "slug": slug, "place": f"{settings.SITE_URL}{_HOUSE}", **facts}
    message = Message(
        kind=Kind.KEY_FAILING,
        level=Level.BAD,
        title=_subject(name, context),
        text=text,
        link=_HOUSE,
        facts={"provider": slug},
        template=name,
        context=context,
    )
    notices.tell(keepers_of_house(), message, now=now)


def whose(credential: Credential) -> str:
    """Return to whom a key belongs, as its reader would say it."""
    return "this server's" if credential.is_system else "your team's" if credential.team_id else "your"


def place(credential: Credential) -> str:
    """Return the path at which something can be done about a key."""
    if credential.is_system:
        return _HOUSE
    return "/settings/team/" if credential.team_id else "/settings/api/"


def _subject(name: str, context: dict[str, Any]) -> str:
    return " ".join(render_to_string(f"emails/{name}.subject.txt", context).split())


def _names() -> dict[str, str]:
    return {provider.slug: provider.name for provider in registry.all_providers()}


def _people(credential: Credential) -> list[UUID]:
    """Return whom a key concerns: its person, its team's owners, or who manages the house's keys."""
    if credential.user_id:
        return [credential.user_id]
    if credential.team_id:
        owners = Membership.objects.filter(team=credential.team_id, role=Membership.Role.OWNER)
        return list(owners.values_list("user_id", flat=True))
    return keepers_of_house()


def keepers_of_house() -> list[UUID]:
    """Return who manages the house's keys."""
    name = Permission.MANAGE_SYSTEM_CREDENTIALS.rpartition(".")[2]
    managing = Q(is_superuser=True) | Q(groups__permissions__codename=name)
    return list(User.objects.filter(managing, is_active=True).values_list("id", flat=True).distinct())
