"""Nothing leads inside: not by its form, its name, its redirects or the environment."""

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from digitalme.errors import DigitalMeError, ProviderUnavailable, SecurityViolation, ValidationTimeout
from providers import addresses, auth, outbound, registry
from providers.outbound import Relay
from providers.registry import Provider
from providers.secrets import Secret
from tests.address_forms import ATTACKS, LEADS_INSIDE, OTHER_PUBLIC, PUBLIC
from tests.fakes import FakeProvider, Manner
from tests.providers.conftest import BLOCKED, Resolver

KEY = "sk-ant-api03-canary" + "b" * 30


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProvider]:
    with FakeProvider() as server:
        yield server


@pytest.fixture(autouse=True)
def _afresh(fake: FakeProvider) -> None:
    fake.reset()


def at(url: str, *, operator: bool = False, slug: str = "anthropic") -> Provider:
    return replace(registry.get(slug), upstream=url, operator_upstream=operator)


async def send(relay: Relay, provider: Provider, path: str = "/v1/models", method: str = "GET") -> Any:
    headers: dict[str, str] = {}
    auth.inject(provider.manifest, {"api_key": Secret(KEY)}, headers)
    return await relay.send(provider, method, path, headers, b"")


def fetch(url: str, *, operator: bool = False, **more: Any) -> outbound.Fetched:
    return outbound.fetch("GET", url, headers={"x-api-key": KEY}, operator=operator, **more)


def chain(error: BaseException) -> list[BaseException]:
    """The error with whatever a traceback would print below it."""
    below = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return [error] + (chain(below) if below else [])


@pytest.mark.parametrize("url", ATTACKS)
def test_no_form_of_address_leads_inside(url: str) -> None:
    with pytest.raises(SecurityViolation):
        addresses.check_url(url, operator=False)


@pytest.mark.parametrize("url", ATTACKS)
def test_no_form_of_address_is_fetched(url: str, names: Resolver) -> None:
    with pytest.raises(SecurityViolation):
        fetch(url)


async def test_no_form_of_address_is_relayed_to(relay: Relay, names: Resolver) -> None:
    for url in ATTACKS:
        with pytest.raises(SecurityViolation):
            await send(relay, at(url.removesuffix("/")) if url.startswith("https://") else at(url))


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com",
        "https://api.openai.com:443/v1/models?limit=1",
        "https://xn--exmple-cua.com/",
        f"https://{PUBLIC}/",
        f"https://[{OTHER_PUBLIC}]/",
        "https://1password.com/",
        "https://0xf.example/",
    ],
)
def test_public_addresses_pass(url: str) -> None:
    addresses.check_url(url, operator=False)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9100", "https://10.0.0.1:8443/v1", "http://ollama:11434", "http://[::1]:1"]
)
def test_the_operator_may_name_private_addresses(url: str) -> None:
    addresses.check_url(url, operator=True)


@pytest.mark.parametrize(
    "url", ["ftp://ollama/", "http://user:pass@ollama/", "http://a\\b/", "http://2130706433/", "http:///x"]
)
def test_the_operator_must_write_plain_addresses_too(url: str) -> None:
    with pytest.raises(SecurityViolation):
        addresses.check_url(url, operator=True)


@pytest.mark.parametrize("path", ["", "v1/models", "@127.0.0.1/", ".evil.test/", ":22/"])
async def test_a_path_cannot_change_the_host(relay: Relay, fake: FakeProvider, path: str) -> None:
    with pytest.raises(SecurityViolation):
        await send(relay, at(fake.url, operator=True), path)
    assert fake.seen == []


# --- Names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("addresses", LEADS_INSIDE)
def test_a_name_with_any_answer_inside_is_not_fetched(names: Resolver, addresses: list[str]) -> None:
    names({"provider.test": [addresses]})
    with pytest.raises(SecurityViolation):
        fetch("https://provider.test/")


@pytest.mark.parametrize("addresses", LEADS_INSIDE)
async def test_a_name_with_any_answer_inside_is_not_relayed_to(
    relay: Relay, names: Resolver, addresses: list[str]
) -> None:
    names({"provider.test": [addresses]})
    with pytest.raises(SecurityViolation):
        await send(relay, at("https://provider.test"))


def test_a_name_is_resolved_once_and_that_address_is_used(names: Resolver) -> None:
    asked = names({"provider.test": [[PUBLIC], ["127.0.0.1"]]})
    with pytest.raises(BLOCKED, match=PUBLIC):
        fetch("https://provider.test/")
    assert asked == {"provider.test": 1}


async def test_the_relay_resolves_once_and_uses_that_address(relay: Relay, names: Resolver) -> None:
    asked = names({"provider.test": [[PUBLIC], ["127.0.0.1"]]})
    with pytest.raises(BLOCKED, match=PUBLIC):
        await send(relay, at("https://provider.test"))
    assert asked == {"provider.test": 1}


async def test_a_name_without_an_address_is_unavailable(relay: Relay, names: Resolver) -> None:
    names({"empty.test": [[]]})
    for name in ("nowhere.test", "empty.test"):
        with pytest.raises(ProviderUnavailable):
            fetch(f"https://{name}/")
        with pytest.raises(ProviderUnavailable):
            await send(relay, at(f"https://{name}"))


async def test_the_operators_name_may_lead_inside(relay: Relay, names: Resolver, fake: FakeProvider) -> None:
    port = fake.url.rpartition(":")[2]
    names({"ollama": [["127.0.0.1"]]})
    assert fetch(f"http://ollama:{port}/v1/models", operator=True).status == 200
    answer = await send(relay, at(f"http://ollama:{port}", operator=True))
    await answer.close()
    assert [seen.headers["host"] for seen in fake.seen] == [f"ollama:{port}"] * 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_and_no_key_goes_elsewhere(
    relay: Relay, fake: FakeProvider, status: int
) -> None:
    with FakeProvider() as sink:
        fake.manner = Manner(status=status, headers={"location": f"{sink.url}/steal"})
        with pytest.raises(ProviderUnavailable, match="redirect"):
            await send(relay, at(fake.url, operator=True))
        assert fetch(f"{fake.url}/v1/models", operator=True).status == status
        assert len(fake.seen) == 2
        assert sink.seen == []


async def test_the_environments_proxies_are_not_used(
    relay: Relay, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeProvider() as sink:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, sink.url)
        fetch(f"{fake.url}/v1/models", operator=True)
        answer = await send(relay, at(fake.url, operator=True))
        await answer.close()
        assert len(fake.seen) == 2
        assert sink.seen == []


async def test_only_the_given_headers_go_out(relay: Relay, fake: FakeProvider) -> None:
    answer = await relay.send(
        at(fake.url, operator=True), "POST", "/v1/messages", {"accept-encoding": "identity", "x-a": "b"}, b"{}"
    )
    await answer.close()
    assert set(fake.seen[0].headers) == {"host", "accept-encoding", "x-a", "content-length"}
    assert fake.seen[0].body == b"{}"


async def test_cookies_are_not_kept(relay: Relay, fake: FakeProvider) -> None:
    fake.manner = Manner(body=b"{}", headers={"set-cookie": "a=b; Path=/"})
    for _ in range(2):
        answer = await send(relay, at(fake.url, operator=True))
        assert [piece async for piece in answer.chunks()] == [b"{}"]
        await answer.close()
    assert "cookie" not in fake.seen[1].headers


async def test_encoded_paths_and_queries_go_out_as_they_are(relay: Relay, fake: FakeProvider) -> None:
    answer = await send(relay, at(fake.url, operator=True), "/v1/models/a%2Fb%3Ac?x=%20y&beta=true")
    await answer.close()
    assert fake.seen[0].path == "/v1/models/a%2Fb%3Ac?x=%20y&beta=true"


async def test_a_stream_comes_as_it_arrives(relay: Relay, fake: FakeProvider) -> None:
    body = json.dumps({"model": "m", "stream": True}).encode()
    fake.manner = Manner(pace=0.02)
    answer = await relay.send(at(fake.url, operator=True), "POST", "/v1/messages", {}, body)
    pieces = [piece async for piece in answer.chunks()]
    await answer.close()
    assert answer.status == 200
    assert (b"content-type", b"text/event-stream; charset=utf-8") in [(k.lower(), v) for k, v in answer.headers]
    assert len(pieces) > 5


async def test_an_answer_that_breaks_off_is_unavailable(relay: Relay, fake: FakeProvider) -> None:
    fake.manner = Manner(cut_after=3)
    body = json.dumps({"model": "m", "stream": True}).encode()
    answer = await relay.send(at(fake.url, operator=True), "POST", "/v1/messages", {}, body)
    with pytest.raises(ProviderUnavailable, match="broke"):
        _ = [piece async for piece in answer.chunks()]
    await answer.close()


async def test_an_answer_may_be_left_unread(relay: Relay, fake: FakeProvider) -> None:
    answer = await send(relay, at(fake.url, operator=True))
    await answer.close()
    again = await send(relay, at(fake.url, operator=True))
    assert again.status == 200
    await again.close()


async def test_a_closed_relay_does_not_send(fake: FakeProvider) -> None:
    one = Relay()
    with pytest.raises(RuntimeError):
        await send(one, at(fake.url, operator=True))
    await one.start()
    await one.close()
    await one.close()
    with pytest.raises(RuntimeError):
        await send(one, at(fake.url, operator=True))


@pytest.fixture
def dead_url() -> Iterator[str]:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{closed.getsockname()[1]}"


async def test_no_failure_carries_the_key(relay: Relay, dead_url: str, fake: FakeProvider) -> None:
    caught: list[DigitalMeError] = []
    for attempt in (dead_url, "https://nowhere.invalid", fake.url.replace("http:", "https:")):
        for broken in ("", "\r\nx: y", "\x00", "\u2028"):
            headers = {"x-api-key": KEY + broken}
            with pytest.raises(DigitalMeError) as raised:
                outbound.fetch("GET", attempt, headers=headers, operator=True, timeout=2)
            caught.append(raised.value)
            with pytest.raises(DigitalMeError) as raised:
                await relay.send(at(attempt, operator=True), "GET", "/v1/models", headers, b"")
            caught.append(raised.value)
    for error in caught:
        assert len(chain(error)) == 1
        assert "canary" not in f"{error} {error.data}"


async def test_a_key_that_breaks_headers_is_not_sent(relay: Relay, fake: FakeProvider) -> None:
    headers = {"x-api-key": f"{KEY}\r\nx-injected: 1"}
    with pytest.raises(DigitalMeError):
        outbound.fetch("GET", fake.url, headers=headers, operator=True)
    with pytest.raises(DigitalMeError):
        await relay.send(at(fake.url, operator=True), "GET", "/v1/models", headers, b"")
    assert fake.seen == []


def test_a_certificate_that_nobody_vouches_for_is_refused(fake: FakeProvider) -> None:
    with pytest.raises(ProviderUnavailable):
        fetch(fake.url.replace("http:", "https:"), operator=True)


def test_a_slow_answer_is_given_up(fake: FakeProvider) -> None:
    fake.manner = Manner(delay=0.6)
    with pytest.raises(ValidationTimeout):
        fetch(f"{fake.url}/v1/models", operator=True, timeout=0.2)


def test_a_slow_stream_is_given_up_at_the_deadline(fake: FakeProvider) -> None:
    fake.manner = Manner(pace=0.1)
    body = json.dumps({"model": "m", "stream": True}).encode()
    with pytest.raises(ValidationTimeout):
        outbound.fetch("POST", f"{fake.url}/v1/messages", headers={}, body=body, operator=True, timeout=0.3)


def test_an_endless_answer_is_cut(fake: FakeProvider) -> None:
    fake.manner = Manner(body=b"x" * 300_000)
    assert len(fetch(fake.url, operator=True, max_bytes=1000).body) == 1000
