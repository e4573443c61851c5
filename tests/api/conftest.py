"""Callers of the API: by token, by session, and a provider on loopback for the tests of keys."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from digitalme.accounts import tokens
from digitalme.accounts.models import User
from tests.fakes import FakeProvider
from usage.models import UsageRecord

OPENAI_KEY = "sk-proj-canaryCANARYcanary0123456789wxyz"
OTHER_KEY = "sk-proj-othercanaryOTHERCANARY987654321zyxw"


def by_token(user: User, *scopes: str) -> Client:
    """A program that sends an access token with these scopes, all by default."""
    _, token = tokens.issue(user=user, name="test", scopes=scopes or tokens.SCOPES)
    return Client(headers={"Authorization": f"Bearer {token}"})


def set_key(client: Client, key: str = OPENAI_KEY, **more: Any) -> Any:
    """Put an OpenAI key."""
    body = {"key": key, **more}
    return client.put("/api/v1/keys/openai/", body, content_type="application/json")


def record_of(user: User, **facts: Any) -> UsageRecord:
    """Keep a record of a call."""
    given: dict[str, Any] = {
        "request_id": uuid.uuid4(),
        "user_id": user.pk,
        "provider": "openai",
        "status": "ok",
        "timestamp": datetime(2026, 11, 20, 12, tzinfo=UTC),
        **facts,
    }
    return UsageRecord.objects.create(**given)


@pytest.fixture
def alice_program(alice: User) -> Client:
    """A program of alice's with a token that may do everything."""
    return by_token(alice)


@pytest.fixture
def charlie_program(charlie: User) -> Client:
    """A program of charlie's with a token that may do everything."""
    return by_token(charlie)


@pytest.fixture
def openai(settings: Any) -> Iterator[FakeProvider]:
    """OpenAI on loopback."""
    with FakeProvider() as fake:
        settings.DIGITALME_UPSTREAMS = {"openai": fake.url}
        yield fake


@pytest.fixture
def strict_client(alice: User) -> Client:
    """A browser in which alice is signed in, and which has to send the CSRF token."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    return client
