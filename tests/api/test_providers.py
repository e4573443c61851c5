"""/api/v1/providers/: what can be called, and whose key would serve."""

from typing import Any

import pytest
from django.test import Client

from apikeys import keys
from digitalme.accounts.models import Team, User
from providers import registry
from tests.api.conftest import OPENAI_KEY, by_token, set_key

URL = "/api/v1/providers/"


def standing(client: Client, slug: str = "openai") -> dict[str, Any]:
    return next(one for one in client.get(URL).json() if one["slug"] == slug)


def test_it_lists_all_providers_with_what_their_keys_consist_of(alice_program: Client) -> None:
    told = standing(alice_program)
    assert {one["slug"] for one in alice_program.get(URL).json()} == {one.slug for one in registry.all_providers()}
    assert (told["name"], told["needs_key"], told["gateway_path"]) == ("OpenAI", True, "/gateway/openai")
    assert [(field["name"], field["secret"]) for field in told["key_fields"]] == [("api_key", True)]


def test_the_sandbox_is_usable_without_any_key(alice_program: Client) -> None:
    told = standing(alice_program, "sandbox")
    assert (told["usable"], told["key_source"], told["own_key_status"]) == (True, None, None)


def test_without_any_key_a_provider_is_not_usable(alice_program: Client) -> None:
    assert (standing(alice_program)["usable"], standing(alice_program)["key_source"]) == (False, None)


def test_the_houses_key_serves_until_there_is_an_own_one(alice_program: Client, settings: Any) -> None:
    settings.DIGITALME_SYSTEM_KEYS = {"openai": OPENAI_KEY}
    assert standing(alice_program)["key_source"] == "system"
    set_key(alice_program)
    told = standing(alice_program)
    assert (told["usable"], told["key_source"], told["own_key_status"]) == (True, "user", "unknown")


def test_a_teams_key_serves_its_members_only(alice: User, bob: User, charlie: User, team: Team) -> None:
    keys.set_key(
        actor=alice,
        owner=keys.Owner("team", team.pk),
        provider=registry.get("openai"),
        fields={"api_key": OPENAI_KEY},
    )
    assert standing(by_token(bob))["key_source"] == "team"
    assert standing(by_token(charlie))["key_source"] is None


def test_somebody_elses_key_serves_nobody_else(alice_program: Client, charlie_program: Client) -> None:
    set_key(alice_program)
    told = standing(charlie_program)
    assert (told["usable"], told["own_key_status"]) == (False, None)


def test_it_costs_few_queries(alice_program: Client, django_assert_num_queries: Any) -> None:
    alice_program.get(URL)
    with django_assert_num_queries(4):  # the token, its user, all keys that could serve, own keys
        alice_program.get(URL)


@pytest.mark.parametrize("sample", [OPENAI_KEY])
def test_the_houses_key_is_nowhere_to_be_read(alice_program: Client, settings: Any, sample: str) -> None:
    settings.DIGITALME_SYSTEM_KEYS = {"openai": sample}
    assert sample not in alice_program.get(URL).content.decode()
