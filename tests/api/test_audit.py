"""/api/v1/audit/: one's own events; everybody's for staff who are signed in."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from apikeys import keys
from digitalme.accounts import roles
from digitalme.accounts.models import User
from digitalme.accounts.roles import Role
from digitalme.audit.models import AuditEvent
from tests.api.conftest import by_token, set_key
from tests.apikeys.conftest import add_key
from tests.audit.conftest import write

pytestmark = pytest.mark.django_db
PATH = "/api/v1/audit/"


def results(client: Client, **query: Any) -> list[dict[str, Any]]:
    answer = client.get(PATH, query)
    assert answer.status_code == 200, answer.content
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def test_it_works(alice: User, alice_program: Client) -> None:
    set_key(alice_program)
    first = results(alice_program)[0]
    event = AuditEvent.objects.latest("sequence")
    assert first == {
        "sequence": event.sequence,
        "id": str(event.pk),
        "at": event.at.isoformat().replace("+00:00", "Z"),
        "action": "credential.set",
        "by": "you",
        "actor": f"user:{alice.pk}",
        "target": event.target,
        "subject": f"user:{alice.pk}",
        "address": "127.0.0.1",
        "request_id": event.request_id,
        "facts": {"provider": "openai", "version": 1},
    }


def test_others_see_nothing_of_it(alice_program: Client, bob: User, charlie_program: Client) -> None:
    set_key(alice_program)
    for client in (by_token(bob), charlie_program):
        assert "credential.set" not in [event["action"] for event in results(client)]


def test_what_staff_did_shows_neither_who_nor_from_where(alice: User, bob: User, alice_program: Client) -> None:
    credential = add_key(alice)
    roles.assign(bob, Role.ADMIN)
    keys.set_active(actor=bob, credential=credential, active=False)
    event = results(alice_program)[0]
    assert (event["action"], event["by"]) == ("credential.disabled", "staff")
    assert (event["actor"], event["address"], event["request_id"]) == ("", "", "")


def test_a_failed_sign_in_shows_its_address(alice: User, alice_program: Client, client: Client) -> None:
    client.post("/accounts/login/", {"login": alice.email, "password": "no"}, REMOTE_ADDR="203.0.113.9")
    event = results(alice_program)[0]
    assert (event["action"], event["by"], event["address"]) == ("login.failed", "visitor", "203.0.113.9")


def test_the_house_s_events_are_nobody_s_own(alice_program: Client) -> None:
    write(3)
    assert "import.applied" not in [event["action"] for event in results(alice_program)]


@pytest.mark.parametrize("role", Role)
def test_everybody_s_events_are_for_staff_in_a_session(role: Role, alice: User, charlie: User) -> None:
    add_key(alice)
    roles.assign(charlie, role)
    browser, program = Client(), by_token(charlie)
    browser.force_login(charlie)
    assert program.get(PATH, {"all": "true"}).status_code == 403
    answer = browser.get(PATH, {"all": "true"})
    if role is Role.USER:
        assert (answer.status_code, answer.json()["code"]) == (403, "SecurityViolation")
        return
    shown = [event for event in answer.json()["results"] if event["action"] == "credential.set"]
    assert [(event["subject"], event["by"]) for event in shown] == [(f"user:{alice.pk}", "command")]


def test_events_are_found_by_action_actor_and_time(alice: User, alice_client: Client) -> None:
    roles.assign(alice, Role.SUPPORT)
    start = datetime(2026, 3, 1, tzinfo=UTC)
    for day in range(4):
        write(now=start + timedelta(days=day))
    find: Callable[..., list[dict[str, Any]]] = lambda **query: results(alice_client, all="true", **query)  # noqa: E731
    assert len(find(action="import.applied")) == 4
    assert len(find(action="import.applied", **{"from": "2026-03-02"}, to="2026-03-03")) == 2
    assert len(find(actor="command", to="2026-03-02")) == 2
    assert {event["actor"] for event in find(actor=str(alice.pk))} <= {f"user:{alice.pk}"}
    assert find(actor=str(uuid.uuid4())) == []
    assert find(action="backup.made") == []


@pytest.mark.parametrize("query", [{"action": "nothing"}, {"actor": "alice"}, {"from": "yesterday"}, {"all": "maybe"}])
def test_an_odd_question_is_refused(alice_program: Client, query: dict[str, str]) -> None:
    answer = alice_program.get(PATH, query)
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidRequest")
    assert next(iter(query.values())) not in answer.content.decode()


def test_pages_follow_one_another(alice: User, alice_program: Client) -> None:
    for _ in range(3):
        add_key(alice)
    first = alice_program.get(PATH, {"page_size": 2}).json()
    second = alice_program.get(first["next"]).json()
    numbers = [event["sequence"] for event in first["results"] + second["results"]]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == 4
    assert alice_program.get(PATH, {"cursor": "zzz"}).status_code == 404
