"""Testing keys with their provider: what is asked, and what is remembered of the answer."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from apikeys import checks
from apikeys.models import Credential
from apikeys.vault import CredentialUnreadable
from digitalme.accounts.models import User
from providers.validation import Category
from tests.apikeys.conftest import KEY, OTHER_KEY, add_key
from tests.fakes import FakeProvider

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def fake(settings: Any) -> Iterator[FakeProvider]:
    """OpenAI, played by a server on loopback."""
    with FakeProvider() as server:
        settings.DIGITALME_UPSTREAMS = {"openai": server.url}
        yield server


def refuse(fake: FakeProvider, status: int, code: str = "") -> None:
    """Have the provider answer with an error."""
    fake.manner.status = status
    fake.manner.body = json.dumps({"error": {"message": "no", "type": code, "code": code}}).encode()


def test_a_key_that_works_is_marked_valid(alice: User, fake: FakeProvider) -> None:
    credential = add_key(alice)
    outcome = checks.test_credential(credential, now=NOW)
    assert outcome.category is Category.VALID
    assert credential.status == Credential.Status.VALID
    stored = Credential.objects.get()
    assert (stored.status, stored.last_validated_at, stored.status_detail) == ("valid", NOW, outcome.message)
    assert [seen.headers.get("authorization") or seen.headers.get("Authorization") for seen in fake.seen] == [
        f"Bearer {KEY}"
    ]


def test_a_rejected_key_is_marked_broken(alice: User, fake: FakeProvider) -> None:
    credential = add_key(alice)
    refuse(fake, 401, "invalid_api_key")
    assert checks.test_credential(credential).category is Category.INVALID
    assert Credential.objects.get().status == Credential.Status.INVALID


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_problem_of_the_provider_leaves_the_standing(status: int, alice: User, fake: FakeProvider) -> None:
    credential = add_key(alice)
    checks.test_credential(credential, now=NOW)
    refuse(fake, status)
    outcome = checks.test_credential(credential, force=True)
    assert outcome.category not in (Category.VALID, Category.INVALID, Category.EXPIRED)
    stored = Credential.objects.get()
    assert (stored.status, stored.last_validated_at) == ("valid", NOW)


def test_a_provider_that_is_away_leaves_the_standing(alice: User, settings: Any) -> None:
    settings.DIGITALME_UPSTREAMS = {"openai": "http://127.0.0.1:9"}
    credential = add_key(alice)
    checks.test_credential(credential)
    assert Credential.objects.get().status == Credential.Status.UNKNOWN


def test_the_answer_about_a_replaced_key_says_nothing_about_the_new_one(alice: User, fake: FakeProvider) -> None:
    old = add_key(alice)
    add_key(alice, OTHER_KEY)
    before = Credential.objects.values("sealed", "version").get()
    Credential.objects.update(sealed=old.sealed, version=old.version)
    stale = Credential.objects.get()
    Credential.objects.update(**before)
    refuse(fake, 401, "invalid_api_key")
    checks.test_credential(stale)
    assert Credential.objects.get().status == Credential.Status.UNKNOWN


def test_an_unreadable_key_is_not_sent(alice: User, fake: FakeProvider) -> None:
    credential = add_key(alice)
    credential.version += 1
    with pytest.raises(CredentialUnreadable):
        checks.test_credential(credential)
    assert fake.seen == []
