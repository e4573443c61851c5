"""The official SDKs, unchanged but for base URL and key, get what a direct call gets."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import anthropic
import openai
import pytest

from tests.fakes import FakeProvider
from tests.gateway.conftest import Person, WebProcess, command

# The web process is another one: what it is to see must be committed.
pytestmark = pytest.mark.django_db(transaction=True)

MESSAGES: Any = [{"role": "user", "content": "Why is a quota held before the call?"}]
OWN_KEY = "sk-own-0123456789abcdefghijklmn"


def openai_client(web: WebProcess, person: Person) -> openai.OpenAI:
    return openai.OpenAI(api_key=person.token, base_url=web.gateway("openai", "/v1"), max_retries=0)


def direct_openai(provider: FakeProvider) -> openai.OpenAI:
    return openai.OpenAI(api_key="sk-direct", base_url=f"{provider.url}/v1", max_retries=0)


def anthropic_client(web: WebProcess, person: Person) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key=person.token, base_url=web.gateway("anthropic"), max_retries=0)


def direct_anthropic(provider: FakeProvider) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="sk-ant-direct", base_url=provider.url, max_retries=0)


OPENAI_CALLS: list[tuple[str, Callable[[openai.OpenAI], Any]]] = [
    ("chat", lambda sdk: sdk.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES).model_dump()),
    (
        "chat stream",
        lambda sdk: [
            chunk.model_dump()
            for chunk in sdk.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, stream=True)
        ],
    ),
    (
        "chat stream with usage",
        lambda sdk: [
            chunk.model_dump()
            for chunk in sdk.chat.completions.create(
                model="gpt-4o-mini", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
            )
        ],
    ),
    ("responses", lambda sdk: sdk.responses.create(model="gpt-4o-mini", input="Why?").model_dump()),
    (
        "responses stream",
        lambda sdk: [
            event.model_dump() for event in sdk.responses.create(model="gpt-4o-mini", input="Why?", stream=True)
        ],
    ),
    ("embeddings", lambda sdk: sdk.embeddings.create(model="text-embedding-3-small", input="Why?").model_dump()),
    ("models", lambda sdk: [model.model_dump() for model in sdk.models.list()]),
]


@pytest.mark.parametrize(("name", "call"), OPENAI_CALLS, ids=[name for name, _ in OPENAI_CALLS])
def test_openai_answers_equal_those_of_a_direct_call(
    name: str, call: Callable[[openai.OpenAI], Any], web: WebProcess, provider: FakeProvider, alice: Person
) -> None:
    assert call(openai_client(web, alice)) == call(direct_openai(provider))


@pytest.mark.parametrize("name", ["chat", "chat stream", "responses", "responses stream"])
def test_an_openai_call_is_recorded_with_the_providers_numbers(name: str, web: WebProcess, alice: Person) -> None:
    dict(OPENAI_CALLS)[name](openai_client(web, alice))
    record = alice.record("ok")
    assert (record.input_tokens, record.output_tokens) == (21, 9)
    assert (record.cached_tokens, record.reasoning_tokens) == (5, 3)
    assert record.counted_by == "provider"
    assert record.key_source == "system"
    # 16 new and 5 cached tokens in, 9 out, at gpt-4o-mini's 0.15, 0.075 and 0.60 dollars a million.
    assert record.cost == Decimal("0.000008175")


def test_an_embedding_is_recorded(web: WebProcess, alice: Person) -> None:
    openai_client(web, alice).embeddings.create(model="text-embedding-3-small", input="Why?")
    record = alice.record("ok")
    assert (record.input_tokens, record.output_tokens, record.cost) == (8, 0, Decimal("0.000000160"))


ANTHROPIC_CALLS: list[tuple[str, Callable[[anthropic.Anthropic], Any]]] = [
    (
        "messages",
        lambda sdk: sdk.messages.create(model="claude-sonnet-5", max_tokens=64, messages=MESSAGES).model_dump(),
    ),
    (
        "messages stream",
        lambda sdk: [
            event.model_dump()
            for event in sdk.messages.create(model="claude-sonnet-5", max_tokens=64, messages=MESSAGES, stream=True)
        ],
    ),
]


@pytest.mark.parametrize(("name", "call"), ANTHROPIC_CALLS, ids=[name for name, _ in ANTHROPIC_CALLS])
def test_anthropic_answers_equal_those_of_a_direct_call(
    name: str, call: Callable[[anthropic.Anthropic], Any], web: WebProcess, provider: FakeProvider, alice: Person
) -> None:
    assert call(anthropic_client(web, alice)) == call(direct_anthropic(provider))
    record = alice.record("ok")
    assert (record.input_tokens, record.output_tokens, record.cached_tokens) == (21, 9, 5)
    # 12 new, 4 written to and 5 read from the cache, 9 out, at 2, 2.50, 0.20 and 10 dollars a million.
    assert record.cost == Decimal("0.000125000")


async def test_the_asynchronous_clients_work_too(web: WebProcess, alice: Person) -> None:
    sdk = openai.AsyncOpenAI(api_key=alice.token, base_url=web.gateway("openai", "/v1"))
    answer = await sdk.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    assert answer.choices[0].message.content == "A quota is held before the call."
    stream = await sdk.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, stream=True)
    assert (
        "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == answer.choices[0].message.content
    )
    await sdk.close()
    claude = anthropic.AsyncAnthropic(api_key=alice.token, base_url=web.gateway("anthropic"))
    message = await claude.messages.create(model="claude-sonnet-5", max_tokens=64, messages=MESSAGES)
    assert message.usage.output_tokens == 9
    await claude.close()


def test_the_very_next_call_uses_a_key_of_ones_own(web: WebProcess, provider: FakeProvider, alice: Person) -> None:
    sdk = openai_client(web, alice)
    before = sdk.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=MESSAGES)
    assert before.headers["X-DigitalMe-Key-Source"] == "system"
    command("set_key", "openai", "--user", alice.user.email, stdin=f"{OWN_KEY}\n")
    after = sdk.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=MESSAGES)
    assert after.headers["X-DigitalMe-Key-Source"] == "user"
    assert [seen.headers["authorization"] for seen in provider.seen] == [
        "Bearer sk-house-0123456789abcdefghij",
        f"Bearer {OWN_KEY}",
    ]


def test_the_access_token_never_goes_upstream(web: WebProcess, provider: FakeProvider, alice: Person) -> None:
    openai_client(web, alice).chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    anthropic_client(web, alice).messages.create(model="claude-sonnet-5", max_tokens=9, messages=MESSAGES)
    assert len(provider.seen) == 2
    assert alice.token not in repr(provider.seen)
    assert provider.seen[1].headers["x-api-key"] == "sk-ant-house-0123456789abcdefghij"


def test_an_answer_names_the_call_and_the_tightest_limit(web: WebProcess, alice: Person) -> None:
    command("set_allocation", alice.user.email, "--provider", "all", "--type", "monthly", "--tokens", "9000000")
    answer = openai_client(web, alice).chat.completions.with_raw_response.create(
        model="gpt-4o-mini", messages=MESSAGES, extra_headers={"X-DigitalMe-Tag": "report-7"}
    )
    record = alice.record("ok")
    assert answer.headers["X-DigitalMe-Request-Id"] == str(record.request_id)
    assert answer.headers["X-DigitalMe-Quota-Limit"] == "50"
    assert answer.headers["X-DigitalMe-Quota-Remaining"] == "49"
    assert answer.headers["X-DigitalMe-Quota-Reset"].endswith("Z")
    assert record.tag == "report-7"


def test_the_house_caps_the_output_of_a_call_it_pays_for(
    web: WebProcess, provider: FakeProvider, alice: Person
) -> None:
    openai_client(web, alice).chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    command("set_key", "openai", "--user", alice.user.email, stdin=OWN_KEY)
    openai_client(web, alice).chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    assert ["max_completion_tokens" in seen.json for seen in provider.seen] == [True, False]


def test_an_unknown_model_on_an_own_key_is_unpriced_and_never_free(web: WebProcess, alice: Person) -> None:
    command("set_key", "openai", "--user", alice.user.email, stdin=OWN_KEY)
    openai_client(web, alice).chat.completions.create(model="my-own-fine-tune", messages=MESSAGES)
    record = alice.record("ok")
    assert record.cost is None
    assert record.input_tokens == 21


def test_the_house_does_not_pay_for_a_model_without_a_price(
    web: WebProcess, provider: FakeProvider, alice: Person
) -> None:
    with pytest.raises(openai.BadRequestError, match="no known price"):
        openai_client(web, alice).chat.completions.create(model="my-own-fine-tune", messages=MESSAGES)
    assert provider.seen == []
    assert alice.record().status == "refused"


@pytest.mark.parametrize("stream", [False, True])
def test_the_sandbox_answers_without_any_key(stream: bool, web: WebProcess, alice: Person) -> None:
    sdk = openai.OpenAI(api_key=alice.token, base_url=web.gateway("sandbox", "/v1"))
    answer: Any = sdk.chat.completions.create(model="sandbox-1", messages=MESSAGES, stream=stream)
    text = (
        "".join(chunk.choices[0].delta.content or "" for chunk in answer)
        if stream
        else answer.choices[0].message.content
    )
    assert "sandbox" in text.lower()
    record = alice.record("ok")
    assert (record.cost, record.counted_by) == (0, "provider")
    assert record.output_tokens > 0
