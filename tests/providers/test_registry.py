"""Which providers there are, what they do, and where they are reached."""

import pytest
from pytest_django.fixtures import Settings

from digitalme.errors import NotFound
from providers import registry


def test_all_providers_are_known() -> None:
    assert [one.slug for one in registry.all_providers()] == ["anthropic", "openai", "sandbox"]


def test_an_unknown_provider_is_not_found() -> None:
    with pytest.raises(NotFound, match="anthropic, openai, sandbox"):
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
    ("method", "path"),
    [
        ("GET", "/v1/chat/completions"),
        ("POST", "/v1/files"),
        ("POST", "/v1/chat/completions/"),
        ("GET", "/v1/models/"),
        ("DELETE", "/v1/models/gpt-5"),
        ("GET", ""),
        ("GET", "/"),
    ],
)
def test_what_is_not_an_operation_matches_nothing(method: str, path: str) -> None:
    assert registry.get("openai").match(method, path) is None


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
