"""From where, and with what, somebody signs in: who signs in from somewhere new is told, in case it was not them.

Kept is a digest of each network and of each kind of browser that was seen, not the address itself.
"""

import hashlib
import ipaddress
import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, transaction

from digitalme.accounts.models import KnownPlace, User
from digitalme.notifications import notices
from digitalme.notifications.kinds import Kind
from digitalme.notifications.models import Level
from digitalme.notifications.notices import Message

# What was not seen for so long counts as new again.
REMEMBERED = timedelta(days=180)
# One household or company has several addresses, and gets others over time.
_NETWORK_BITS = {4: 24, 6: 48}
_BROWSERS = (("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chrome", "Chrome"), ("Safari", "Safari"))
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "an iPhone"),
    ("iPad", "an iPad"),
    ("Windows", "Windows"),
    ("Mac OS", "a Mac"),
    ("Linux", "Linux"),
)

log = logging.getLogger(__name__)


def noted(user: User, request: Any, *, now: datetime) -> bool:
    """Remember from where somebody just signed in, and tell them if it is new; tells whether they were told.

    The first sign-in of an account has nothing that it could differ from. Never in the way of signing in: what cannot
    be written down is only logged.
    """
    try:
        with transaction.atomic():
            return _noted(user, request.META, now)
    except DatabaseError as problem:
        log.warning("The place of a sign-in was not noted: %s", type(problem).__name__)
        return False


def _noted(user: User, meta: dict[str, Any], now: datetime) -> bool:
    address, agent = str(meta.get("REMOTE_ADDR", "")), str(meta.get("HTTP_USER_AGENT", ""))
    KnownPlace.objects.filter(user=user, seen_at__lt=now - REMEMBERED).delete()
    known = set(KnownPlace.objects.filter(user=user).values_list("digest", flat=True))
    here = {_digest(user, "network", network_of(address)), _digest(user, "device", device_of(agent))}
    rows = [KnownPlace(user=user, digest=one, seen_at=now) for one in sorted(here)]
    KnownPlace.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["user", "digest"], update_fields=["seen_at"]
    )
    if not known or here <= known:
        return False
    device = device_of(agent)
    message = Message(
        kind=Kind.SIGN_IN,
        level=Level.WARN,
        title="New sign-in to your account",
        text=f"Somebody signed in with {device} from {shown(address)}. If that was not you, change your password and "
        "end the other sessions.",
        link="/settings/security/",
        facts={"address": shown(address), "device": device},
    )
    return bool(notices.tell([user.pk], message, now=now))


def network_of(address: str) -> str:
    """Return the network that an address belongs to; what is none, such as the name of a socket, as it is."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    return str(ipaddress.ip_network((ip, _NETWORK_BITS[ip.version]), strict=False))


def device_of(agent: str) -> str:
    """Return browser and system in words of our own, 'Firefox on Linux': what a browser says of itself is anybody's
    text, and changes with each version."""
    browser = next((name for word, name in _BROWSERS if word in agent), "another program")
    system = next((name for word, name in _SYSTEMS if word in agent), "")
    return f"{browser} on {system}" if system else browser


def shown(address: str) -> str:
    """Return an address in its one form; nothing else goes into a letter."""
    try:
        return str(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        return "an unknown address"


def _digest(user: User, kind: str, value: str) -> str:
    return hashlib.sha256(f"{user.pk}:{kind}:{value}".encode()).hexdigest()
