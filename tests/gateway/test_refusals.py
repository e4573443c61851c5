"""What cannot be served is refused clearly, in the provider's own shape, and leaves no hold behind."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import anthropic
import openai
import pytest
import requests
from django.utils import timezone

from apikeys import keys
from digitalme.accounts.models import AccessToken
from quotas.models import Lease
from tests.fakes import FakeProvider, Manner
from tests.gateway.conftest import Person, WebProcess, command
from tests.gateway.test_sdks import MESSAGES, OWN_KEY, anthropic_client, openai_client

# The web process is another one: what it is to see must be committed.
pytestmark = pytest.mark.django_db(transaction=True)


def post(
    web: WebProcess, person: Person, body: Any = None, path: str = "openai/v1/chat/completions", **more: Any
) -> Any:
    arguments = {"headers": person.headers, "timeout": 20, **more}
    if body is not None:
        arguments["json"] = body
    return requests.post(f"{web.url}/gateway/{path}", **arguments)


def no_hold_is_left(person: Person) -> bool:
    return not Lease.objects.filter(user_id=person.user.id).exists()


def test_an_unknown_token_is_refused_as_openai_does(web: WebProcess, alice: Person) -> None:
    stranger = openai.OpenAI(api_key="dm_unknown", base_url=web.gateway("openai", "/v1"), max_retries=0)
    with pytest.raises(openai.AuthenticationError, match="access token"):
        stranger.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)


def test_an_unknown_token_is_refused_as_anthropic_does(web: WebProcess) -> None:
    stranger = anthropic.Anthropic(api_key="dm_unknown", base_url=web.gateway("anthropic"), max_retries=0)
    with pytest.raises(anthropic.AuthenticationError, match="access token"):
        stranger.messages.create(model="claude-sonnet-5", max_tokens=9, messages=MESSAGES)


def test_a_call_without_a_token_is_refused(web: WebProcess) -> None:
    answer = requests.post(web.gateway("openai", "/v1/chat/completions"), json={}, timeout=20)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "Unauthenticated"
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("field", ["revoked_at", "expires_at"])
def test_a_dead_token_starts_no_call(field: str, web: WebProcess, provider: FakeProvider, alice: Person) -> None:
    AccessToken.objects.filter(user=alice.user).update(**{field: timezone.now() - timedelta(seconds=1)})
    with pytest.raises(openai.AuthenticationError, match=field.split("_")[0][:6]):
        openai_client(web, alice).chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    assert provider.seen == []
    assert alice.record().error_type == "Unauthenticated"


def test_a_disabled_person_starts_no_call(web: WebProcess, provider: FakeProvider, alice: Person) -> None:
    alice.user.is_active = False
    alice.user.save()
    assert post(web, alice, {"model": "gpt-4o-mini", "messages": MESSAGES}).status_code == 401
    assert provider.seen == []


def test_a_token_without_the_gateways_scope_is_refused(web: WebProcess, alice: Person) -> None:
    AccessToken.objects.filter(user=alice.user).update(scopes=["api:read"])
    assert post(web, alice, {"model": "gpt-4o-mini", "messages": MESSAGES}).status_code == 403


@pytest.mark.parametrize(
    ("header", "form"), [("x-api-key", "{}"), ("Authorization", "Bearer {}"), ("Authorization", "token {}")]
)
def test_the_token_is_taken_from_every_header_that_sdks_use(
    header: str, form: str, web: WebProcess, alice: Person
) -> None:
    answer = post(
        web, alice, {"model": "gpt-4o-mini", "messages": MESSAGES}, headers={header: form.format(alice.token)}
    )
    assert answer.status_code == 200


def test_an_unknown_provider_is_named(web: WebProcess, alice: Person) -> None:
    answer = post(web, alice, {}, path="nowhere/v1/chat/completions")
    assert answer.status_code == 404
    assert "nowhere" in answer.json()["error"]["message"]
    assert alice.record().status == "refused"


@pytest.mark.parametrize(
    "path", ["openai/v1/../v1/models", "openai/v1/%2e%2e/admin", "openai/v1/a%5Cb", "openai/v1/x%00y"]
)
def test_a_path_with_tricks_is_refused(path: str, web: WebProcess, provider: FakeProvider, alice: Person) -> None:
    prepared = requests.Request("GET", f"{web.url}/gateway/models", headers=alice.headers).prepare()
    prepared.url = f"{web.url}/gateway/{path}"
    with requests.Session() as session:
        assert session.send(prepared, timeout=20).status_code == 404
    assert provider.seen == []


def test_a_call_that_no_key_can_serve_says_where_to_add_one(
    provider: FakeProvider, alice: Person, start_web: Callable[..., WebProcess]
) -> None:
    web = start_web(provider.url, DIGITALME_SYSTEM_KEY_OPENAI="")
    with pytest.raises(openai.NotFoundError, match="/settings/api/"):
        openai_client(web, alice).chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    assert provider.seen == []
    assert alice.record().error_type == "KeyNotFound"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"model": 7, "messages": []}', b'{"messages": []}', b"[" * 50_000],
)
def test_a_body_that_is_no_call_is_refused(body: bytes, web: WebProcess, provider: FakeProvider, alice: Person) -> None:
    answer = post(web, alice, data=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "InvalidRequest"
    assert provider.seen == []
    assert alice.record().status == "refused"


@pytest.mark.parametrize("limit", [-1, 0.5, "many", True, 10**12])
def test_a_nonsensical_output_limit_is_refused(
    limit: Any, web: WebProcess, provider: FakeProvider, alice: Person
) -> None:
    body = {"model": "gpt-4o-mini", "messages": MESSAGES, "max_tokens": limit}
    assert post(web, alice, body).status_code == 400
    assert provider.seen == []


def test_an_oversized_body_is_refused_before_it_is_read(web: WebProcess, alice: Person) -> None:
    head = {**alice.headers, "Content-Length": str(33 * 1024 * 1024)}
    with requests.Session() as session:
        prepared = requests.Request("POST", web.gateway("openai", "/v1/chat/completions"), headers=head).prepare()
        prepared.headers["Content-Length"] = head["Content-Length"]
        answer = session.send(prepared, timeout=20)
    assert answer.status_code == 400
    assert "32 MiB" in answer.json()["error"]["message"]


def test_an_own_key_that_is_switched_off_is_not_replaced_by_the_houses(
    web: WebProcess, provider: FakeProvider, alice: Person
) -> None:
    command("set_key", "openai", "--user", alice.user.email, stdin=OWN_KEY)
    keys.set_active(actor=alice.user, credential=alice.user.credentials.get(), active=False)
    with pytest.raises(openai.NotFoundError):
        openai_client(web, alice).chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    assert provider.seen == []


def test_an_operation_that_the_provider_does_not_have_is_named(web: WebProcess, alice: Person) -> None:
    answer = requests.get(web.gateway("sandbox", "/v1/nothing"), headers=alice.headers, timeout=20)
    assert answer.status_code == 404
    assert "/v1/nothing" in answer.json()["error"]["message"]
    assert alice.record().error_type == "NotFound"


def test_a_used_up_limit_explains_itself(web: WebProcess, provider: FakeProvider, alice: Person) -> None:
    command("set_allocation", alice.user.email, "--provider", "openai", "--type", "daily", "--requests", "1")
    sdk = openai_client(web, alice)
    sdk.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    with pytest.raises(openai.RateLimitError) as caught:
        sdk.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    assert len(provider.seen) == 1
    assert "1 of 1" in caught.value.message
    assert caught.value.code == "QuotaExceeded"
    assert int(caught.value.response.headers["retry-after"]) > 0
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert alice.record("refused").error_type == "QuotaExceeded"


def test_anthropics_sdk_raises_its_own_error_at_the_limit(web: WebProcess, alice: Person) -> None:
    command("set_allocation", alice.user.email, "--provider", "anthropic", "--type", "daily", "--requests", "0")
    with pytest.raises(anthropic.RateLimitError):
        anthropic_client(web, alice).messages.create(model="claude-sonnet-5", max_tokens=9, messages=MESSAGES)


@pytest.mark.parametrize("status", [400, 401, 429, 500, 529])
def test_a_providers_error_is_passed_on_and_recorded(
    status: int, web: WebProcess, provider: FakeProvider, alice: Person
) -> None:
    provider.manner = Manner(
        status=status, headers={"retry-after": "7", "set-cookie": "a=b", "x-ratelimit-limit-requests": "9"}
    )
    answer = post(web, alice, {"model": "gpt-4o-mini", "messages": MESSAGES})
    assert (answer.status_code, answer.json()) == (status, {"error": {"message": "no", "type": "server_error"}})
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["x-ratelimit-limit-requests"] == "9"
    assert "set-cookie" not in answer.headers
    record = alice.record()
    assert (record.status, record.http_status, record.cost) == ("failed", status, 0)
    assert (record.charged_requests, record.charged_tokens) == (1, 0)
    assert no_hold_is_left(alice)


@pytest.mark.parametrize(
    "manner",
    [
        Manner(body=b"<html>busy</html>", content_type="text/html"),
        Manner(body=b'{"choices": ['),
        Manner(cut_after=20),
    ],
    ids=["html", "half a document", "cut"],
)
def test_garbage_is_an_error_and_no_answer(
    manner: Manner, web: WebProcess, provider: FakeProvider, alice: Person
) -> None:
    provider.manner = manner
    with pytest.raises(openai.InternalServerError):
        openai_client(web, alice).chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    assert alice.record().status == "failed"
    assert no_hold_is_left(alice)


def test_a_redirect_is_not_followed(web: WebProcess, provider: FakeProvider, alice: Person) -> None:
    provider.manner = Manner(status=307, headers={"location": f"{provider.url}/elsewhere"})
    answer = post(web, alice, {"model": "gpt-4o-mini", "messages": MESSAGES}, allow_redirects=False)
    assert len(provider.seen) == 1
    assert "location" not in answer.headers
    assert answer.status_code in (307, 502)


def test_a_provider_that_is_down_costs_nothing(
    alice: Person, start_web: Callable[..., WebProcess], unused_port: int
) -> None:
    lonely = start_web(f"http://127.0.0.1:{unused_port}")
    with pytest.raises(openai.InternalServerError, match="reached"):
        openai_client(lonely, alice).chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    record = alice.record()
    assert (record.status, record.error_type) == ("failed", "ProviderUnavailable")
    assert (record.charged_requests, record.charged_tokens, record.charged_cost) == (0, 0, 0)
    assert no_hold_is_left(alice)
