"""A provider that is installed while everything runs is called, metered, priced and limited like any other, at once and
in every process."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest
import requests
from django.core.management import CommandError

from apikeys.models import Credential
from providers import definitions
from providers.models import ProviderDefinition
from tests.fakes import FakeProvider, Manner, Reply
from tests.gateway.conftest import EXAMPLES, Person, WebProcess, command, until
from tests.gateway.test_sdks import MESSAGES

# The web process is another one: what it is to see must be committed.
pytestmark = pytest.mark.django_db(transaction=True)

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "providers" / "examples"
KEYS = {"mistral": "m" * 32, "notion": "ntn_" + "n" * 30, "linear": "lin_api_" + "l" * 30}
ABSENT = "There is no provider"


def example(slug: str) -> str:
    return (FOLDER / f"{slug}.toml").read_text()


def answered(web: WebProcess, person: Person, path: str, method: str = "GET", **more: Any) -> requests.Response:
    headers = {**person.headers, **more.pop("headers", {})}
    return requests.request(method, web.gateway(path), headers=headers, timeout=20, **more)


def known(web: WebProcess, person: Person, slug: str) -> bool:
    return ABSENT not in answered(web, person, f"{slug}/v1/none").text


@pytest.fixture
def installed(web: WebProcess, alice: Person) -> Iterator[Callable[[str], None]]:
    """Install an example, wait until the running process knows it, and give alice a key for it."""

    def install(slug: str) -> None:
        definitions.install(example(slug))
        until(lambda: known(web, alice, slug))
        command("set_key", slug, "--user", alice.user.email, stdin=KEYS[slug])

    yield install
    for row in ProviderDefinition.objects.exclude(definition=""):
        definitions.remove(row)
    until(lambda: not any(known(web, alice, slug) for slug in EXAMPLES))


def test_every_process_knows_it_at_once_and_forgets_it_at_once(
    web: WebProcess, start_web: Callable[..., WebProcess], provider: FakeProvider, alice: Person
) -> None:
    other = start_web(provider.url)
    both = (web, other)
    assert not any(known(one, alice, "mistral") for one in both)
    row = definitions.install(example("mistral"))
    until(lambda: all(known(one, alice, "mistral") for one in both))
    command("set_key", "mistral", "--user", alice.user.email, stdin=KEYS["mistral"])
    for one in both:
        assert answered(one, alice, "mistral/v1/models").status_code == 200
    definitions.switch(row, on=False)
    until(lambda: all("switched off" in answered(one, alice, "mistral/v1/models").text for one in both))
    definitions.switch(row, on=True)
    until(lambda: all(answered(one, alice, "mistral/v1/models").status_code == 200 for one in both))
    definitions.remove(row)
    until(lambda: not any(known(one, alice, "mistral") for one in both))


def test_a_built_in_provider_is_switched_off_in_running_processes(web: WebProcess, alice: Person) -> None:
    row = ProviderDefinition.objects.get(slug="openai")
    definitions.switch(row, on=False)
    try:
        until(lambda: "OpenAI is switched off" in answered(web, alice, "openai/v1/models").text)
    finally:
        definitions.switch(row, on=True)
    until(lambda: answered(web, alice, "openai/v1/models").status_code == 200)


def test_a_file_in_the_operators_folder_is_known_without_a_restart(
    start_web: Callable[..., WebProcess], provider: FakeProvider, alice: Person, tmp_path: Path
) -> None:
    other = start_web(provider.url, DIGITALME_PROVIDERS_DIR=str(tmp_path))
    assert not known(other, alice, "notion")
    (tmp_path / "notion.toml").write_text(example("notion"))
    until(lambda: known(other, alice, "notion"))
    (tmp_path / "notion.toml").unlink()
    until(lambda: not known(other, alice, "notion"))


@pytest.mark.parametrize("stream", [False, True])
def test_mistral_is_called_by_the_openai_sdk_metered_and_priced(
    stream: bool, web: WebProcess, provider: FakeProvider, alice: Person, installed: Callable[[str], None]
) -> None:
    installed("mistral")
    provider.seen.clear()
    sdk = openai.OpenAI(api_key=alice.token, base_url=web.gateway("mistral", "/v1"), max_retries=0)
    answer: Any = sdk.chat.completions.create(model="mistral-small-latest", messages=MESSAGES, stream=stream)
    assert list(answer) if stream else answer.choices
    (seen,) = provider.seen
    assert seen.headers["authorization"] == f"Bearer {KEYS['mistral']}"
    assert "stream_options" not in seen.json
    assert KEYS["mistral"].encode() not in seen.body
    record = alice.record("ok")
    assert (record.provider, record.operation, record.key_source) == ("mistral", "chat", "user")
    assert record.cost is not None
    assert record.cost > 0
    if not stream:
        assert (record.input_tokens, record.output_tokens) == (21, 9)


def test_the_house_has_no_key_for_what_was_installed(
    web: WebProcess, provider: FakeProvider, alice: Person, installed: Callable[[str], None]
) -> None:
    installed("mistral")
    Credential.objects.filter(user=alice.user).update(user=None, is_system=True)  # as it was set before this rule
    provider.seen.clear()
    sdk = openai.OpenAI(api_key=alice.token, base_url=web.gateway("mistral", "/v1"), max_retries=0)
    with pytest.raises(openai.NotFoundError, match="Add your own"):
        sdk.chat.completions.create(model="mistral-small-latest", messages=MESSAGES)
    with pytest.raises(CommandError, match="the house has none"):
        command("set_key", "mistral", "--system", stdin=KEYS["mistral"])
    assert provider.seen == []


def test_the_houses_key_for_one_in_the_operators_folder_is_capped(
    start_web: Callable[..., WebProcess], provider: FakeProvider, alice: Person, tmp_path: Path
) -> None:
    (tmp_path / "mistral.toml").write_text(example("mistral"))
    house = {"DIGITALME_SYSTEM_KEY_MISTRAL": KEYS["mistral"], "DIGITALME_PROVIDERS_DIR": str(tmp_path)}
    web = start_web(provider.url, **house)
    until(lambda: known(web, alice, "mistral"))
    provider.seen.clear()
    sdk = openai.OpenAI(api_key=alice.token, base_url=web.gateway("mistral", "/v1"), max_retries=0)
    sdk.chat.completions.create(model="mistral-small-latest", messages=MESSAGES)
    assert provider.seen[0].json["max_tokens"] == 1024
    assert "max_completion_tokens" not in provider.seen[0].json


def test_notion_takes_any_path_on_an_own_key(
    web: WebProcess, provider: FakeProvider, alice: Person, installed: Callable[[str], None]
) -> None:
    installed("notion")
    provider.reset()
    provider.manner = Manner(reply=lambda seen: Reply(200, {"object": "page"}))
    answer = answered(
        web,
        alice,
        "notion/v1/pages/a%2Fb?x=%20",
        "PATCH",
        json={"archived": True},
        headers={"Notion-Version": "2022-06-28"},
    )
    assert answer.json() == {"object": "page"}
    (seen,) = provider.seen
    assert (seen.method, seen.path, seen.json) == ("PATCH", "/v1/pages/a%2Fb?x=%20", {"archived": True})
    assert seen.headers["notion-version"] == "2022-06-28"
    assert seen.headers["authorization"] == f"Bearer {KEYS['notion']}"
    record = alice.record("ok")
    assert (record.operation, record.cost) == ("pages", Decimal(0))


def test_without_an_own_key_notion_asks_for_one(
    web: WebProcess, provider: FakeProvider, alice: Person, installed: Callable[[str], None]
) -> None:
    installed("notion")
    Credential.objects.filter(user=alice.user).delete()
    provider.reset()
    answer = answered(web, alice, "notion/v1/users/me")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "no usable Notion key. Add your own" in answer.json()["detail"]
    assert provider.seen == []


def test_linears_failures_with_a_good_status_are_seen(
    web: WebProcess, provider: FakeProvider, alice: Person, installed: Callable[[str], None]
) -> None:
    installed("linear")
    provider.reset()
    errors = {"errors": [{"message": "no", "extensions": {"code": "FORBIDDEN"}}]}
    provider.manner = Manner(reply=lambda seen: Reply(200, errors))
    assert answered(web, alice, "linear/graphql", "POST", json={"query": "{ viewer { id } }"}).json() == errors
    assert provider.seen[0].headers["authorization"] == KEYS["linear"]
    assert alice.record("failed").error_type == "FORBIDDEN"


def test_a_key_goes_to_no_other_address_than_it_was_entered_for(
    web: WebProcess, provider: FakeProvider, alice: Person, installed: Callable[[str], None]
) -> None:
    installed("notion")
    row = ProviderDefinition.objects.get(slug="notion")
    definitions.change(row, example("notion").replace("api.notion.com", "api.notion.example"))
    provider.reset()
    until(lambda: answered(web, alice, "notion/v1/users/me").status_code == 500)
    provider.seen.clear()
    answer = answered(web, alice, "notion/v1/users/me")
    assert (answer.status_code, answer.json()["title"]) == (500, "DecryptionFailed")
    assert "Enter it again" in answer.json()["detail"]
    assert provider.seen == []


@pytest.mark.parametrize("how", ["off", "gone", "corrupt"])
def test_nothing_steps_in_for_a_key_that_fails(
    how: str, web: WebProcess, provider: FakeProvider, alice: Person, installed: Callable[[str], None]
) -> None:
    installed("mistral")
    own = Credential.objects.filter(user=alice.user, provider="mistral")
    if how == "corrupt":
        own.update(sealed={"api_key": "AAAA"})
    elif how == "off":
        own.update(is_active=False)
    else:
        own.delete()
    provider.seen.clear()
    answer = answered(web, alice, "mistral/v1/models")
    assert answer.status_code in (404, 500)
    assert provider.seen == []
