"""Which providers there are, what they do, and where they are reached."""

import pytest
from pytest_django.fixtures import Settings

from digitalme.errors import NotFound
from providers import registry
from providers.builtin import BUILT_IN


def test_all_providers_are_known() -> None:
    assert [one.slug for one in registry.all_providers()] == list(BUILT_IN)


def test_an_unknown_provider_is_not_found() -> None:
    with pytest.raises(NotFound, match="anthropic, openai, mcp, slack"):
        registry.get("nobody")


@pytest.mark.parametrize(
    ("slug", "method", "path", "name"),
    [
        ("openai", "POST", "/v1/chat/completions", "chat"),
        ("openai", "POST", "/v1/responses", "responses"),
        ("openai", "POST", "/v1/embeddings", "embeddings"),
        ("openai", "GET", "/v1/models", "models"),
        ("openai", "GET", "/v1/models/gpt-5", "model"),
        ("anthropic", "POST", "/v1/messages", "messages"),
        ("anthropic", "POST", "/v1/messages/count_tokens", "count_tokens"),
        ("anthropic", "GET", "/v1/models", "models"),
        ("sandbox", "POST", "/v1/chat/completions", "chat"),
    ],
)
def test_requests_match_their_operations(slug: str, method: str, path: str, name: str) -> None:
    operation = registry.get(slug).match(method, path)
    assert operation is not None
    assert operation.name == name


@pytest.mark.parametrize(
    ("slug", "method", "path", "name", "dialect"),
    [
        ("openai", "GET", "/v1/chat/completions", "any chat", "none"),
        ("openai", "GET", "/v1/chat/completions/chatcmpl-1", "stored_chat", "none"),
        ("openai", "GET", "/v1/responses/resp_1", "stored_response", "openai_later"),
        ("openai", "POST", "/v1/responses/compact", "compact", "openai_responses"),
        ("openai", "POST", "/v1/files", "files", "none"),
        ("openai", "GET", "/v1/batches/b%2F1", "batch", "openai_later"),
        ("openai", "DELETE", "/v1/models/gpt-5", "any models", "none"),
        ("openai", "PROPFIND", "/", "other", "none"),
        ("openai", "POST", "/v1/chat/completions/", "chat", "openai_chat"),
        ("openai", "POST", "//v1//responses", "responses", "openai_responses"),
        ("openai", "GET", "/v1/models/", "models", "none"),
        ("anthropic", "POST", "/v1/messages/", "messages", "anthropic_messages"),
        ("anthropic", "POST", "/v1/messages/batches", "batches", "anthropic_later"),
        ("anthropic", "GET", "/v1/messages/batches/b1/results", "batch_results", "anthropic_later"),
        ("anthropic", "POST", "/v1/files", "files", "none"),
    ],
)
def test_whatever_else_there_is_takes_a_key_of_ones_own(
    slug: str, method: str, path: str, name: str, dialect: str
) -> None:
    operation = registry.get(slug).match(method, path)
    assert operation is not None
    assert (operation.name, operation.dialect, operation.system) == (name, dialect, False)


def test_what_is_not_an_operation_matches_nothing() -> None:
    assert registry.get("openai").match("GET", "") is None
    assert registry.get("sandbox").match("GET", "/v1/files") is None


@pytest.mark.parametrize("override", ["http://127.0.0.1:9100", "http://127.0.0.1:9100/", "http://127.0.0.1:9100/v1/"])
def test_the_operator_chooses_another_upstream(settings: Settings, override: str) -> None:
    settings.DIGITALME_UPSTREAMS = {"openai": override}
    provider = registry.get("openai")
    assert (provider.upstream, provider.operator_upstream) == ("http://127.0.0.1:9100", True)
    assert provider.destination == ("https://api.openai.com",)
    assert not registry.get("anthropic").operator_upstream


def test_the_upstream_is_the_providers_own_by_default(settings: Settings) -> None:
    settings.DIGITALME_UPSTREAMS = {}
    provider = registry.get("openai")
    assert (provider.upstream, provider.operator_upstream) == ("https://api.openai.com", False)


def test_a_change_within_the_same_mapping_is_seen(settings: Settings) -> None:
    settings.DIGITALME_UPSTREAMS = {}
    assert registry.get("openai").upstream == "https://api.openai.com"
    settings.DIGITALME_UPSTREAMS["openai"] = "http://127.0.0.1:1"
    assert registry.get("openai").upstream == "http://127.0.0.1:1"


def test_the_sandbox_has_no_upstream(settings: Settings) -> None:
    settings.DIGITALME_UPSTREAMS = {"sandbox": "http://127.0.0.1:1"}
    provider = registry.get("sandbox")
    assert (provider.upstream, provider.operator_upstream, provider.needs_key) == ("", False, False)
    assert provider.destination == ()


@pytest.mark.parametrize(
    ("slug", "path", "upstream", "sent"),
    [
        ("google", "/drive/v3/files?q=1", "https://www.googleapis.com", "/drive/v3/files?q=1"),
        ("google", "/gmail/v1/users/me", "https://gmail.googleapis.com", "/gmail/v1/users/me"),
        ("google", "/upload/gmail/v1/x", "https://gmail.googleapis.com", "/upload/gmail/v1/x"),
        ("google", "/upload/drive/v3/files", "https://www.googleapis.com", "/upload/drive/v3/files"),
        ("google", "/sheets/v4/spreadsheets/1", "https://sheets.googleapis.com", "/v4/spreadsheets/1"),
        ("google", "/gmailer/v1", "https://www.googleapis.com", "/gmailer/v1"),
        ("slack", "/files/upload/v1/ABC", "https://files.slack.com", "/upload/v1/ABC"),
        ("slack", "/api/files.list", "https://slack.com", "/api/files.list"),
        (
            "github",
            "/uploads/repos/a/b/releases/1/assets?name=x",
            "https://uploads.github.com",
            "/repos/a/b/releases/1/assets?name=x",
        ),
        ("twocaptcha", "/createTask", "https://api.2captcha.com", "/createTask"),
        ("twocaptcha", "/in.php", "https://2captcha.com", "/in.php"),
    ],
)
def test_a_path_goes_to_its_host(slug: str, path: str, upstream: str, sent: str, settings: Settings) -> None:
    settings.DIGITALME_UPSTREAMS = {}
    there, onward = registry.get(slug).at(path)
    assert (there.upstream, onward) == (upstream, sent)
    assert upstream in registry.get(slug).destination


def test_an_operators_upstream_stands_for_every_host(settings: Settings) -> None:
    settings.DIGITALME_UPSTREAMS = {"google": "http://127.0.0.1:9100"}
    there, onward = registry.get("google").at("/sheets/v4/spreadsheets/1")
    assert (there.upstream, onward) == ("http://127.0.0.1:9100", "/sheets/v4/spreadsheets/1")


@pytest.mark.parametrize(
    ("slug", "method", "path", "name", "system"),
    [
        ("slack", "POST", "/api/auth.test", "auth.test", True),
        ("slack", "POST", "/api/chat.postMessage", "chat.postMessage", False),
        ("telegram", "POST", "/bot/getMe", "getMe", True),
        ("telegram", "POST", "/bot/sendMessage", "sendMessage", False),
        ("github", "GET", "/rate_limit", "rate_limit", True),
        ("github", "DELETE", "/repos/a/b", "repos", False),
        ("github", "GET", "/user", "other", False),
        ("clickup", "PUT", "/api/v2/task/1", "task", False),
        ("clickup", "GET", "/api/v2/user", "user", True),
        (
            "google",
            "POST",
            "/generativelanguage/v1beta/models/gemini-2.5-flash:generateContent",
            "generateContent",
            False,
        ),
        ("google", "PATCH", "/drive/v3/files/1", "drive", False),
        ("twocaptcha", "GET", "/res.php", "res", False),
        ("twocaptcha", "POST", "/getBalance", "getBalance", True),
    ],
)
def test_the_houses_key_serves_what_shows_nothing_of_others(
    slug: str, method: str, path: str, name: str, system: bool
) -> None:
    operation = registry.get(slug).match(method, path)
    assert operation is not None
    assert (operation.name, operation.system) == (name, system)
