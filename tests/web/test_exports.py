"""/settings/usage/exports/: which calls, as what."""

import csv
import io
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from digitalme.accounts import tokens
from digitalme.accounts.models import Team, User
from tests.web.conftest import add_call

pytestmark = pytest.mark.django_db
PAGE, FILE = "/settings/usage/exports/", "/settings/usage/export/"
AT = datetime(2026, 3, 10, 12, tzinfo=UTC)


def tags(answer: Any) -> list[str]:
    return [row["tag"] for row in csv.DictReader(io.StringIO(answer.getvalue().decode(), newline=""))]


def test_the_usage_page_and_the_page_of_filters_lead_to_the_file(alice: User, alice_client: Client) -> None:
    token, _ = tokens.issue(user=alice, name="laptop")
    add_call(alice, at=AT, tag="mine", token_id=token.pk)
    add_call(alice, at=AT.replace(day=12), tag="later")
    assert f'action="{FILE}"' in alice_client.get("/settings/usage/").content.decode()
    text = alice_client.get(PAGE).content.decode()
    assert f'action="{PAGE}start/"' in text
    assert "laptop" in text
    everything = alice_client.get(FILE, {"from": "", "to": "", "provider": "", "format": "csv"})
    assert everything.headers["Content-Disposition"].startswith("attachment")
    assert tags(everything) == ["mine", "later"]
    narrow = {"from": "2026-03-10", "to": "2026-03-10", "provider": "openai", "token": str(token.pk), "status": "ok"}
    assert tags(alice_client.get(FILE, narrow)) == ["mine"]
    assert tags(alice_client.get(FILE, {"key_source": "user"})) == []


def test_days_are_those_of_the_person(alice: User, alice_client: Client) -> None:
    User.objects.filter(pk=alice.pk).update(time_zone="Pacific/Auckland")
    add_call(alice, at=AT, tag="the 11th there")
    assert len(tags(alice_client.get(FILE, {"from": "2026-03-11", "to": "2026-03-11"}))) == 1


@pytest.mark.parametrize(
    "query", [{"from": "2026-03-11", "to": "2026-03-10"}, {"format": "xls"}, {"token": "x"}, {"from": "soon"}]
)
def test_an_odd_question_is_asked_again(alice_client: Client, query: dict[str, str]) -> None:
    answer = alice_client.get(FILE, query)
    assert answer.status_code == 422
    assert "errorlist" in answer.content.decode()


def test_a_team_is_exported_by_who_looks_after_it(
    alice_client: Client, bob: User, bob_client: Client, charlie_client: Client, team: Team
) -> None:
    add_call(bob, team_id=team.pk, tag="on the team's key")
    add_call(bob, tag="private")
    assert tags(alice_client.get(FILE, {"whose": team.slug})) == ["on the team's key"]
    for client in (bob_client, charlie_client):
        assert client.get(FILE, {"whose": team.slug}).status_code == 422


def test_strangers_are_sent_to_sign_in(client: Client) -> None:
    for path in (PAGE, FILE):
        assert client.get(path).status_code == 302
