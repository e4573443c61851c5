"""A key that a provider rejects in a call is tested at once, and its owner told if it is dead."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from apikeys.models import Credential
from digitalme.accounts.models import User
from digitalme.alerts import failing_keys
from digitalme.notifications import inbox
from tests.apikeys.conftest import KEY, add_key
from tests.fakes import FakeProvider, Manner
from usage.models import UsageRecord

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def fake(settings: Any) -> Iterator[FakeProvider]:
    """OpenAI, which rejects everything."""
    with FakeProvider() as server:
        settings.DIGITALME_UPSTREAMS = {"openai": server.url}
        error = {"message": "no", "type": "invalid_api_key", "code": "invalid_api_key"}
        server.manner = Manner(status=401, body=json.dumps({"error": error}).encode())
        yield server


def called(credential: Credential, status: int = 401, at: datetime = NOW) -> None:
    UsageRecord.objects.create(
        request_id=uuid4(),
        user_id=credential.user_id or uuid4(),
        credential_id=credential.pk,
        provider="openai",
        status="failed",
        http_status=status,
        timestamp=at,
    )


def test_it_is_tested_once_and_its_owner_told(alice: User, fake: FakeProvider) -> None:
    credential = add_key(alice)
    called(credential)
    called(credential)
    assert [failing_keys.run(now=NOW), failing_keys.run(now=NOW)] == [1, 0]
    assert Credential.objects.get().status == "invalid"
    (told,) = inbox.of(alice.pk)
    assert (told.kind, told.level) == ("key.failing", "bad")
    assert "OpenAI no longer accepts your key" in told.title
    assert KEY not in str(vars(told))


def test_one_that_passes_its_test_is_left_alone_for_an_hour(alice: User, fake: FakeProvider) -> None:
    fake.manner = Manner()
    credential = add_key(alice)
    for minutes, tested in ((0, 1), (5, 0), (59, 0), (60, 1)):
        now = NOW + timedelta(minutes=minutes)
        called(credential, at=now)
        assert failing_keys.run(now=now) == tested
    assert not inbox.of(alice.pk).exists()


def test_other_failures_old_ones_and_keys_that_are_off_are_no_reason(alice: User, fake: FakeProvider) -> None:
    credential = add_key(alice)
    called(credential, status=500)
    called(credential, at=NOW - failing_keys.LOOKED_AT - timedelta(seconds=1))
    assert failing_keys.run(now=NOW) == 0
    called(credential)
    Credential.objects.update(is_active=False)
    assert failing_keys.run(now=NOW) == 0
    assert fake.seen == []
