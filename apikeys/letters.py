"""Mails about a key to those whom it concerns."""

from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.db.models import Q
from django.template.loader import render_to_string

from apikeys.models import Credential
from digitalme.accounts.models import Membership, User
from digitalme.accounts.permissions import Permission
from providers import registry


def send(name: str, credential: Credential, **facts: Any) -> bool:
    """Send the letter `emails/NAME.txt` about a key; tell whether anybody was there to be written to.

    Raises OSError, of which those of SMTP are, if mail cannot be sent.
    """
    addresses = _addresses(credential)
    if not addresses:
        return False
    context = {
        "provider": _names().get(credential.provider, credential.provider),
        "credential": credential,
        "whose": "this server's" if credential.is_system else "your team's" if credential.team_id else "your",
        "place": f"{settings.SITE_URL}/{_place(credential)}/",
        **facts,
    }
    _post(name, context, addresses)
    return True


def send_to_house(name: str, slug: str, **facts: Any) -> None:
    """Send the letter `emails/NAME.txt` about a provider to those who manage the house's keys. Raises as `send`."""
    place = f"{settings.SITE_URL}/admin/apikeys/credential/"
    _post(name, {"provider": _names().get(slug, slug), "slug": slug, "place": place, **facts}, _house())


def _post(name: str, context: dict[str, Any], addresses: list[str]) -> None:
    subject = " ".join(render_to_string(f"emails/{name}.subject.txt", context).split())
    body = render_to_string(f"emails/{name}.txt", context)
    for address in addresses:  # one each: nobody learns who else is told
        EmailMessage(subject, body, to=[address]).send()


def _names() -> dict[str, str]:
    return {provider.slug: provider.name for provider in registry.all_providers()}


def _place(credential: Credential) -> str:
    if credential.is_system:
        return "admin/apikeys/credential"
    return "settings/team" if credential.team_id else "settings/api"


def _addresses(credential: Credential) -> list[str]:
    """Return whom a key concerns: its person, its team's owners, or who manages the house's keys."""
    people = User.objects.filter(is_active=True)
    if credential.user_id:
        people = people.filter(id=credential.user_id)
    elif credential.team_id:
        people = people.filter(membership__team=credential.team_id, membership__role=Membership.Role.OWNER)
    else:
        return _house()
    return list(people.order_by("email").values_list("email", flat=True).distinct())


def _house() -> list[str]:
    """Return who manages the house's keys."""
    name = Permission.MANAGE_SYSTEM_CREDENTIALS.rpartition(".")[2]
    managing = Q(is_superuser=True) | Q(groups__permissions__codename=name)
    people = User.objects.filter(managing, is_active=True)
    return list(people.order_by("email").values_list("email", flat=True).distinct())
