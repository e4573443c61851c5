"""T28: no face lets anybody move a victim's counter of failed tests, so nobody can lock another out of testing."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from apikeys.models import KeyTest
from digitalme.accounts import roles
from digitalme.accounts.models import Membership, Team, User
from tests.api.conftest import by_token
from tests.apikeys.conftest import KEY, OTHER_KEY, add_key
from tests.apikeys.test_attempts import answering
from tests.fakes import FakeProvider

pytestmark = pytest.mark.django_db
TRIES = 5


@pytest.fixture(autouse=True)
def fake(settings: Any) -> Iterator[FakeProvider]:
    """OpenAI, which knows no key."""
    with FakeProvider() as server:
        settings.DIGITALME_UPSTREAMS = {"openai": server.url}
        answering(server, 401, "invalid_api_key")
        yield server


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def by_page(bob: User, alice: User) -> None:
    add_key(bob, OTHER_KEY)
    # Whatever the address says about whose key it is to be.
    browser(bob).post(f"/settings/api/openai/test/?user={alice.pk}&owner={alice.email}", {"force": "1"})


def by_team_page(bob: User, alice: User) -> None:
    browser(bob).post("/settings/team/alices/keys/openai/test/", {"force": "1"})


def by_api(bob: User, alice: User) -> None:
    add_key(bob, OTHER_KEY)
    body = {"user": str(alice.pk), "actor": f"user:{alice.pk}"}
    by_token(bob).post("/api/v1/keys/openai/test/?force=true", body, "application/json")


def by_command(bob: User, alice: User) -> None:
    with suppress(CommandError):
        call_command("check_key", "openai", "--user", alice.email)


def by_admin(bob: User, alice: User) -> None:
    roles.assign(bob, roles.Role.SUPER_ADMIN)
    every = {"action": "test", "_selected_action": [str(one) for one in credentials_of(alice)]}
    browser(bob).post("/admin/apikeys/credential/", every)


def credentials_of(alice: User) -> list[Any]:
    return [*alice.credentials.values_list("pk", flat=True), add_key(None).pk]


@pytest.mark.parametrize("attack", [by_page, by_team_page, by_api, by_command, by_admin])
def test_t28_nobody_moves_a_victims_counter_through_any_face(
    attack: Callable[[User, User], None], alice: User, bob: User, team: Team, fake: FakeProvider
) -> None:
    add_key(alice)
    add_key(team, OTHER_KEY)
    Membership.objects.filter(user=bob).update(role="admin")
    for _ in range(TRIES):
        attack(bob, alice)
    tried = set(KeyTest.objects.values_list("actor", flat=True))
    assert tried == {"command" if attack is by_command else f"user:{bob.pk}"}
    before = len(fake.seen)
    assert before == 3  # and no more than the attacker's own allowance was asked
    answer = by_token(alice).post("/api/v1/keys/openai/test/?force=true")
    assert (answer.status_code, answer.json()["category"]) == (200, "invalid")
    shown = browser(alice).post("/settings/api/openai/test/", {"force": "1"}, headers={"HX-Request": "true"})
    assert "OpenAI does not know this key" in shown.content.decode()
    assert len(fake.seen) == before + 2
    assert KEY not in shown.content.decode()
