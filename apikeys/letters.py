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
    known = {provider.slug: provider.name for provider in registry.all_providers()}
    context = {
        "provider": known.get(credential.provider, credential.provider),
        "credential": credential,
        "whose": "this server's" if credential.is_system else "your team's" if credential.team_id else "your",
        "place": f"{settings.SITE_URL}/{'admin/apikeys/credential' if credential.is_system else 'settings/api'}/",
        **facts,
    }
    subject = " ".join(render_to_string(f"emails/{name}.subject.txt", context).split())
    body = render_to_string(f"emails/{name}.txt", context)
    for address in addresses:  # one each: nobody learns who else is told
        EmailMessage(subject, body, to=[address]).send()
    return True


def _addresses(credential: Credential) -> list[str]:
    """Return whom a key concerns: its person, its team's owners, or who manages the house's keys."""
    people = User.objects.filter(is_active=True)
    if credential.user_id:
        people = people.filter(id=credential.user_id)
    elif credential.team_id:
        people = people.filter(membership__team=credential.team_id, membership__role=Membership.Role.OWNER)
    else:
        name = Permission.MANAGE_SYSTEM_CREDENTIALS.rpartition(".")[2]
        people = people.filter(Q(is_superuser=True) | Q(groups__permissions__codename=name))
    return list(people.order_by("email").values_list("email", flat=True).distinct())
