"""Every change of a key is in the trail, or did not happen; no key is."""

import base64
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client

from apikeys import checks, keys, masters, rotation, unreadable
from apikeys.models import Credential, HouseKey
from apikeys.vault import CredentialUnreadable
from digitalme.accounts.models import Team, User
from digitalme.audit.models import AuditEvent
from digitalme.errors import AuditUnavailable
from tests.api.conftest import OPENAI_KEY, by_token, set_key
from tests.apikeys.conftest import KEY, OTHER_KEY, add_key
from tests.audit.conftest import trail
from tests.fakes import FakeProvider

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def fake(settings: Any) -> Iterator[FakeProvider]:
    """OpenAI on loopback."""
    with FakeProvider() as server:
        settings.DIGITALME_UPSTREAMS = {"openai": server.url}
        yield server


def last() -> AuditEvent:
    return AuditEvent.objects.latest("sequence")


def rows() -> list[Any]:
    return list(Credential.objects.order_by("pk").values())


@pytest.mark.parametrize("kind", ["user", "team", "system"])
def test_the_life_of_a_key_is_written_down(kind: str, alice: User, team: Team) -> None:
    owner = {"user": alice, "team": team, "system": None}[kind]
    credential = add_key(owner)
    add_key(owner, OTHER_KEY)
    for active in (False, False, True):
        keys.set_active(actor=alice, credential=credential, active=active)
    checks.test_credential(credential, actor=alice)
    keys.remove(actor=alice, credential=credential)
    word = "system_key" if kind == "system" else "credential"
    deeds = ["set", "set", "disabled", "enabled", "tested", "removed"]
    events = list(AuditEvent.objects.filter(target__startswith="credential:").order_by("sequence"))
    assert [event.action for event in events] == [f"{word}.{deed}" for deed in deeds]
    assert {event.target for event in events} == {f"credential:{events[0].target.partition(':')[2]}"}
    assert {event.subject for event in events} == {credential.owner}
    assert [event.actor_kind for event in events] == ["command", "command", "user", "user", "user", "user"]
    assert events[0].facts == {"provider": "openai", "version": 1}


def test_a_test_keeps_the_category_alone(alice: User, fake: FakeProvider) -> None:
    fake.manner.status = 401
    fake.manner.body = f'{{"error": {{"message": "{KEY}", "code": "invalid_api_key"}}}}'.encode()
    checks.test_credential(add_key(alice), actor=alice)
    assert last().facts == {"category": "invalid", "provider": "openai", "version": 1}


def test_address_request_and_person_come_from_the_request(alice: User) -> None:
    program = by_token(alice)
    answer = program.put(
        "/api/v1/keys/openai/", {"key": OPENAI_KEY}, content_type="application/json", REMOTE_ADDR="203.0.113.9"
    )
    event = last()
    assert (event.action, event.actor, event.actor_kind) == ("credential.set", f"user:{alice.pk}", "user")
    assert (event.address, event.request_id) == ("203.0.113.9", answer["X-Request-Id"])
    program.post("/api/v1/keys/openai/test/", REMOTE_ADDR="2001:db8::7")
    assert (last().action, last().actor, last().address) == ("credential.tested", f"user:{alice.pk}", "2001:db8::7")


# --- T47: what cannot be written down is not done -------------------------------------------------

DEEDS: dict[str, Callable[[User, Credential], object]] = {
    "replace": lambda alice, _: add_key(alice, OTHER_KEY),
    "remove": lambda alice, key: keys.remove(actor=alice, credential=key),
    "disable": lambda alice, key: keys.set_active(actor=alice, credential=key, active=False),
    "test": lambda alice, key: checks.test_credential(key, actor=alice),
    "add": lambda alice, _: add_key(None),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_t47_a_key_operation_whose_event_cannot_be_written_is_refused_whole(
    deed: str, alice: User, request: pytest.FixtureRequest
) -> None:
    credential = add_key(alice)
    before, known = rows(), trail()
    request.getfixturevalue("refused")
    with pytest.raises(AuditUnavailable, match="could not be written down"):
        DEEDS[deed](alice, credential)
    assert rows() == before
    assert trail() == known


@pytest.mark.parametrize(
    ("method", "path"),
    [("put", "keys/openai/"), ("delete", "keys/openai/"), ("post", "keys/openai/test/")],
)
def test_t47_the_api_answers_503_and_changes_nothing(
    method: str, path: str, alice: User, request: pytest.FixtureRequest
) -> None:
    program = by_token(alice)
    set_key(program)
    before = rows()
    request.getfixturevalue("refused")
    body = {"key": OTHER_KEY} if method == "put" else {}
    answer = getattr(program, method)(f"/api/v1/{path}", body, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (503, "AuditUnavailable")
    assert "could not be written down" in answer.json()["detail"]
    assert rows() == before


def test_t47_the_page_says_so_and_changes_nothing(
    alice: User, alice_client: Client, request: pytest.FixtureRequest
) -> None:
    add_key(alice)
    before = rows()
    request.getfixturevalue("refused")
    answer = alice_client.post("/settings/api/openai/remove/")
    assert answer.status_code == 503
    assert "could not be written down" in answer.content.decode()
    assert rows() == before


@pytest.mark.parametrize("step", [rotation.promote, rotation.retire])
def test_t47_no_step_of_a_rotation_is_taken_without_the_trail(
    step: Callable[[str], bool], settings: Any, request: pytest.FixtureRequest
) -> None:
    one, two = (base64.b64encode(os.urandom(32)).decode() for _ in range(2))
    settings.DIGITALME_MASTER_KEYS = f"k1:{one},k2:{two}"
    masters.verify()
    before = list(HouseKey.objects.order_by("pk").values())
    request.getfixturevalue("refused")
    with pytest.raises(AuditUnavailable, match="could not be written down"):
        step("k2")
    assert list(HouseKey.objects.order_by("pk").values()) == before


# --- T04: a key that does not open is in the trail --------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("version", 7),
        ("destination", ["https://evil.example"]),
        ("sealed", {"api_key": "AAAA"}),
        ("sealed", {}),
        ("user_id", None),
    ],
)
def test_t04_a_row_that_was_altered_is_reported_once(column: str, value: Any, alice: User, bob: User) -> None:
    credential = add_key(alice)
    Credential.objects.filter(pk=credential.pk).update(**{column: bob.pk if column == "user_id" else value})
    for _ in range(3):
        with pytest.raises(CredentialUnreadable):
            checks.test_credential(Credential.objects.get(pk=credential.pk))
    found = AuditEvent.objects.filter(action="credential.unreadable")
    assert [event.target for event in found] == [f"credential:{credential.pk}"]
    assert found[0].facts["provider"] == "openai"


def test_t04_the_next_alteration_is_reported_again(alice: User) -> None:
    credential = add_key(alice)
    for blob in ("AAAA", "AAAB"):
        Credential.objects.filter(pk=credential.pk).update(sealed={"api_key": blob})
        with pytest.raises(CredentialUnreadable):
            checks.test_credential(Credential.objects.get(pk=credential.pk))
    assert AuditEvent.objects.filter(action="credential.unreadable").count() == 2


def test_t04_a_report_that_could_not_be_written_is_made_the_next_time(
    alice: User, request: pytest.FixtureRequest
) -> None:
    from tests.audit.conftest import failing_inserts

    credential = add_key(alice)
    Credential.objects.filter(pk=credential.pk).update(version=9)
    stored = Credential.objects.get(pk=credential.pk)
    with failing_inserts(), pytest.raises(CredentialUnreadable):
        checks.test_credential(stored)
    with pytest.raises(CredentialUnreadable):
        checks.test_credential(stored)
    assert AuditEvent.objects.filter(action="credential.unreadable").count() == 1


def test_the_house_s_key_of_the_environment_has_no_row_to_report() -> None:
    from apikeys.resolution import KeySource, ResolvedKey

    unreadable.report(ResolvedKey(KeySource.SYSTEM, "openai", plain_env=True))
    assert not AuditEvent.objects.exists()
