"""What the tests of keys share: people with keys, and a way to see what is stored."""

from collections.abc import Callable
from typing import Any

import pytest

from apikeys import keys, masters
from apikeys.keys import Owner
from apikeys.models import Credential, KeyHolder
from digitalme.accounts.models import Team, User
from providers import registry
from providers.registry import Provider
from tests.apikeys.houses import OLD

KEY = "sk-proj-0123456789abcdefghijklmnopWXYZ"
OTHER_KEY = "sk-proj-zyxwvutsrqponmlkjihg9876543210"


def owned_by(one: User | Team | None) -> Owner:
    """Return a person, a team or the house as an owner."""
    if one is None:
        return keys.SYSTEM
    return Owner("user" if isinstance(one, User) else "team", one.pk)


def add_key(one: User | Team | None, key: str = KEY, slug: str = "openai") -> Credential:
    """Give somebody a key."""
    return keys.set_key(actor=None, owner=owned_by(one), provider=registry.get(slug), fields={"api_key": key})


@pytest.fixture
def openai() -> Provider:
    return registry.get("openai")


@pytest.fixture
def house(db: None, settings: Any) -> Callable[[str], None]:
    """Give the house other masters, as a start with another configuration does."""

    def give(masters_: str) -> None:
        settings.DIGITALME_MASTER_KEYS = masters_
        masters.verify()

    KeyHolder.objects.all().delete()  # web processes that other tests keep running
    give(OLD)
    return give
