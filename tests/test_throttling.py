"""Token buckets: exact in what they let through and when, one for each asker, told to other processes."""

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from digitalme import throttling
from digitalme.accounts import tokens
from digitalme.errors import Unauthenticated
from digitalme.gateway.app import GatewayApp
from digitalme.throttling import Buckets, Shared
from tests.conftest import PASSWORD

ONE = {"x": 60}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(st.integers(1, 600), st.lists(st.floats(0, 30, allow_nan=False), max_size=60))
def test_no_span_of_time_lets_through_more_than_the_bucket_and_what_fills_up(limit: int, pauses: list[float]) -> None:
    clock, passed = Clock(), []
    buckets = Buckets(clock)
    for pause in pauses:
        clock.now += pause
        if buckets.take([("x", "a")], {"x": limit}) == ("", 0.0):
            passed.append(clock.now)
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            assert last - first + 1 <= limit + (passed[last] - passed[first]) * limit / 60 + 1e-3


@given(st.integers(1, 100_000), st.floats(-1000, 0.99, allow_nan=False))
def test_the_wait_that_is_told_is_enough_and_not_too_long(limit: int, left: float) -> None:
    clock, limits_ = Clock(), {"x": limit}
    buckets = Buckets(clock)
    buckets.take([("x", "a")], limits_)
    buckets._buckets["x", "a"].left = left
    kind, wait = buckets.take([("x", "a")], limits_)
    assert kind == "x"
    clock.now += wait * 0.99
    assert buckets.take([("x", "a")], limits_)[0] == "x"
    clock.now += wait * 0.01 + 1e-6
    assert buckets.take([("x", "a")], limits_) == ("", 0.0)


def test_all_or_nothing_over_several_buckets() -> None:
    buckets, limits = Buckets(Clock()), {"x": 2, "y": 1}
    assert buckets.take([("x", "a"), ("y", "b")], limits) == ("", 0.0)
    assert buckets.take([("x", "a"), ("y", "b")], limits)[0] == "y"
    assert buckets.take([("x", "a"), ("y", "c")], limits) == ("", 0.0)
    assert buckets.take([("x", "a"), ("y", "d")], limits)[0] == "x"
    assert buckets.take([("x", "")], limits) == ("", 0.0)
    assert all(buckets.take([("z", "a")], {"z": 0}) == ("", 0.0) for _ in range(100))


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    clock = Clock()
    buckets = Buckets(clock)
    for _ in range(60):
        buckets.take([("x", "a")], ONE)
    clock.now -= 500
    assert buckets.take([("x", "a")], ONE)[0] == "x"


def test_many_askers_take_a_bounded_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling, "MOST_BUCKETS", 100)
    clock = Clock()
    buckets = Buckets(clock)
    for number in range(1000):
        clock.now += 0.01
        buckets.take([("x", str(number))], ONE)
        assert len(buckets._buckets) <= 100


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1%eth0", "2001:db8:1:2::/64"),
        ("testserver", "testserver"),
        ("", ""),
    ],
)
def test_an_address_of_ipv6_counts_as_its_network(address: str, counted: str) -> None:
    assert throttling.address(address) == counted


@pytest.fixture
def shared(redis_url: str) -> Iterator[list[tuple[Buckets, Shared]]]:
    """Three processes on one Redis."""
    throttles = settings.THROTTLES
    settings.THROTTLES = {**throttles, "x": 60}
    made = [Buckets(Clock()) for _ in range(3)]
    yield [(one, Shared(one, redis_url)) for one in made]
    settings.THROTTLES = throttles


@pytest.mark.once
def test_processes_hear_of_one_another(shared: list[tuple[Buckets, Shared]]) -> None:
    who, moment = ("x", str(uuid.uuid4())), 6_000_000.0
    for buckets, _ in shared:
        for _ in range(20):
            assert buckets.take([who], ONE) == ("", 0.0)
    for _ in range(2):
        for buckets, one in shared:
            one.share(now=moment)
            buckets.take([who], ONE)
    for _, one in shared:
        one.share(now=moment)
    left = [buckets._buckets[who].left for buckets, _ in shared]
    assert all(amount < 1 for amount in left), left
    names = list(shared[0][1]._server.scan_iter("throttle:*"))
    assert names
    assert not any(who[1].encode() in name for name in names)


def test_a_redis_that_is_away_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    buckets = Buckets(Clock())
    shared = Shared(buckets, "redis://127.0.0.1:1/0")
    for _ in range(2):
        assert buckets.take([("gateway.token", "a")], settings.THROTTLES) == ("", 0.0)
        shared.share()
    assert caplog.text.count("Redis is away") == 1


# --- The gateway --------------------------------------------------------------------------------


class Nobody:
    """A runtime to which every token is bad, but which knows whose they were."""

    def user_of(self, digest: str) -> str:
        return "one person"

    async def admit(self, call: Any) -> None:
        raise Unauthenticated("This access token is unknown.")


class Gateway(GatewayApp):
    async def _started(self) -> Any:
        return Nobody()


def asked(app: Any, *, token: str = "", provider: str = "openai", client: str = "203.0.113.9", **headers: str) -> Any:
    """Call the gateway and return status, headers and body."""
    sent = {"authorization": f"Bearer {token}", **headers}
    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": f"/gateway/{provider}/v1/chat/completions",
        "query_string": b"",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in sent.items()],
        "client": (client, 1),
    }
    got: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b'{"model":"x","messages":[]}', "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        got.append(message)

    asyncio.run(app(scope, receive, send))
    return got[0]["status"], dict(got[0]["headers"]), got[1]["body"].decode()


def limits(settings: Any, **given: int) -> None:
    named = {name.replace("_", ".", 1): limit for name, limit in given.items()}
    settings.THROTTLES = {**dict.fromkeys(settings.THROTTLES, 0), **named}


def test_the_gateway_refuses_in_the_providers_shape_and_says_when(settings: Any) -> None:
    limits(settings, gateway_token=2)
    token = tokens._new()
    assert [asked(Gateway(), token=token)[0] for _ in range(3)] == [401, 401, 429]
    status, headers, body = asked(Gateway(), token=token)
    assert (status, headers[b"retry-after"]) == (429, b"30")
    assert '"code":"RateLimited"' in body
    assert b"x-should-retry" not in headers
    assert '"type":"rate_limit_error"' in asked(Gateway(), token=token, provider="anthropic")[2]
    assert asked(Gateway(), token=tokens._new())[0] == 401


def test_a_person_has_one_bucket_for_all_tokens(settings: Any) -> None:
    limits(settings, gateway_user=2)
    assert [asked(Gateway(), token=tokens._new())[0] for _ in range(3)] == [401, 401, 429]


def test_t53_who_is_no_trusted_proxy_cannot_choose_the_bucket(settings: Any) -> None:
    limits(settings, gateway_address=2)
    app: Any = Gateway()
    gateway = ProxyHeadersMiddleware(app, trusted_hosts=["10.0.0.1"])

    def ask(client: str, forwarded: str) -> int:
        return int(asked(gateway, client=client, x_forwarded_for=forwarded)[0])

    assert [ask("203.0.113.9", f"198.51.100.{number}") for number in range(3)] == [401, 401, 429]
    assert [ask("10.0.0.1", f"198.51.100.{number}") for number in range(3)] == [401] * 3
    assert [ask("10.0.0.1", f"192.0.2.{number}, 198.51.100.7") for number in range(3)] == [401, 401, 429]


# --- Pages and API ------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["api_token", "api_user", "api_address"])
def test_the_api_refuses_with_a_problem_that_says_when(alice: Any, settings: Any, kind: str) -> None:
    limits(settings, **{kind: 2})
    _, token = tokens.issue(user=alice, name="x")
    program = Client(headers={"x-api-key": token})
    answers = [program.get("/api/v1/me/") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert (answers[-1]["Retry-After"], answers[-1].json()["code"]) == ("30", "RateLimited")
    _, other = tokens.issue(user=alice, name="y")
    again = Client(headers={"x-api-key": other}).get("/api/v1/me/", REMOTE_ADDR="198.51.100.1")
    assert again.status_code == (429 if kind == "api_user" else 200)


@pytest.mark.django_db
def test_trying_out_tokens_is_bounded_whatever_the_header_says(client: Client, settings: Any) -> None:
    limits(settings, api_address=2)
    tries = [
        client.get("/api/v1/me/", headers={"x-api-key": tokens._new(), "X-Forwarded-For": f"198.51.100.{number}"})
        for number in range(3)
    ]
    assert [answer.status_code for answer in tries] == [401, 401, 429]


@pytest.mark.django_db
def test_sign_in_is_bounded_by_address_whatever_is_typed(client: Client, alice: Any, settings: Any) -> None:
    limits(settings, login_address=3)
    for number in range(3):
        form = {"login": f"{number}@example.com", "password": "wrong horse battery"}
        assert client.post("/accounts/login/", form, headers={"X-Forwarded-For": f"1.1.1.{number}"}).status_code == 200
    good = {"login": alice.email, "password": PASSWORD}
    refused = client.post("/accounts/login/", good, headers={"X-Forwarded-For": "2.2.2.2"})
    assert (refused.status_code, refused["Retry-After"]) == (429, "20")
    assert "Too many requests from this address" in refused.content.decode()
    assert client.get("/accounts/login/").status_code == 200
    assert client.post("/accounts/login/", good, REMOTE_ADDR="198.51.100.1").status_code == 302
