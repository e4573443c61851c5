"""This server is no place to find out which of many found keys work (T27), and nobody uses up another's tests (T28)."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import Client

from apikeys import attempts, checks, keys
from apikeys.models import Credential, KeyTest
from apikeys.tasks import recheck
from digitalme.accounts.models import User
from digitalme.errors import QuotaExceeded
from providers import registry, validation
from providers.outcomes import Category
from providers.secrets import Secret
from tests.api.conftest import by_token
from tests.apikeys.conftest import KEY, add_key
from tests.fakes import FakeProvider, Manner, Reply

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
TEST = "/api/v1/keys/openai/test/"
PAGE = "/settings/api/openai/"
HTMX = {"HX-Request": "true"}


@pytest.fixture(autouse=True)
def fake(settings: Any) -> Iterator[FakeProvider]:
    """OpenAI and Anthropic, played by a server on loopback that knows no key."""
    with FakeProvider() as server:
        settings.DIGITALME_UPSTREAMS = {"openai": server.url, "anthropic": server.url}
        answering(server, 401, "invalid_api_key")
        yield server


def answering(fake: FakeProvider, status: int, code: str = "") -> None:
    body = json.dumps({"error": {"message": "no", "type": code, "code": code}}).encode()
    fake.manner = Manner(status=status, body=body if status != 200 else None)


def found_key(number: int) -> str:
    return f"sk-proj-found{number:04d}" + "a" * 30


def tried(person: User, number: int = 0, now: datetime = NOW) -> checks.Checked:
    """Delete the key there is, enter another one, test it."""
    for credential in Credential.objects.filter(user=person):
        keys.remove(actor=person, credential=credential)
    return checks.test_credential(add_key(person, found_key(number)), actor=person, now=now)


def test_of_a_hundred_found_keys_three_are_tried(alice: User, fake: FakeProvider) -> None:
    refused = 0
    for number in range(100):
        try:
            tried(alice, number)
        except QuotaExceeded:
            refused += 1
    assert (len(fake.seen), refused) == (3, 97)


def test_it_says_when_the_next_test_is_possible_and_then_it_is(alice: User, fake: FakeProvider) -> None:
    for minute in range(3):
        tried(alice, minute, NOW + timedelta(minutes=minute))
    with pytest.raises(QuotaExceeded, match=r"OpenAI rejected 3 of your keys.*Test again after 03:18") as refusal:
        tried(alice, 3, NOW + timedelta(minutes=5))
    wait = refusal.value.data["retry_after"]
    assert wait == 600
    with pytest.raises(QuotaExceeded):
        tried(alice, 3, NOW + timedelta(minutes=5, seconds=wait - 1))
    assert tried(alice, 3, NOW + timedelta(minutes=5, seconds=wait)).category is Category.INVALID
    assert len(fake.seen) == 4


def test_another_provider_is_counted_by_itself(alice: User, fake: FakeProvider) -> None:
    for number in range(3):
        tried(alice, number)
    credential = add_key(alice, "sk-ant-api03-" + "a" * 93 + "AA", "anthropic")
    assert checks.test_credential(credential, actor=alice, now=NOW).category is Category.INVALID


def test_t28_nobody_uses_up_another_persons_tests(alice: User, bob: User, fake: FakeProvider) -> None:
    for number in range(5):
        with pytest.raises(QuotaExceeded) if number > 2 else contextlib.nullcontext():
            tried(bob, number)
    assert tried(alice).category is Category.INVALID


@pytest.mark.parametrize(
    ("status", "code"), [(429, "rate_limit_exceeded"), (500, ""), (503, ""), (429, "insufficient_quota"), (200, "")]
)
def test_what_is_no_rejection_does_not_count(status: int, code: str, alice: User, fake: FakeProvider) -> None:
    answering(fake, status, code)
    for number in range(10):
        tried(alice, number)
    assert len(fake.seen) == 10
    answering(fake, 401, "invalid_api_key")
    for number in range(3):
        tried(alice, number)
    with pytest.raises(QuotaExceeded):
        tried(alice)


def test_a_provider_that_is_away_does_not_count(alice: User, settings: Any) -> None:
    settings.DIGITALME_UPSTREAMS = {"openai": "http://127.0.0.1:9"}
    assert {tried(alice, number).category for number in range(6)} == {Category.NETWORK}


def test_a_test_whose_process_was_killed_counts_as_rejected(alice: User, fake: FakeProvider) -> None:
    KeyTest.objects.bulk_create(
        KeyTest(actor=f"user:{alice.pk}", provider="openai", started_at=NOW - timedelta(minutes=1)) for _ in range(3)
    )
    with pytest.raises(QuotaExceeded, match="rejected 3"):
        tried(alice)
    assert fake.seen == []


def test_while_other_tests_run_one_is_asked_to_wait_a_moment(alice: User, fake: FakeProvider) -> None:
    KeyTest.objects.bulk_create(KeyTest(actor=f"user:{alice.pk}", provider="openai", started_at=NOW) for _ in range(3))
    with pytest.raises(QuotaExceeded, match=r"Other tests .* are running\. Test again in 15 seconds"):
        tried(alice)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("code", [401, 200])
def test_of_fifty_tries_at_once_three_reach_the_provider(code: int, alice: User, fake: FakeProvider) -> None:
    credential = add_key(alice)
    answering(fake, code, "invalid_api_key" if code == 401 else "")
    gate, start, done = threading.Event(), threading.Barrier(50), threading.Semaphore(0)
    fake.manner.reply = lambda seen: (gate.wait(20), Reply(code, {"error": {"code": "invalid_api_key"}}))[1]
    outcomes: list[str] = []

    def attempt() -> None:
        start.wait(60)
        try:
            outcomes.append(checks.test_credential(credential_of(credential), actor=alice, force=True).category)
        except QuotaExceeded:
            outcomes.append("refused")
            done.release()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=attempt) for _ in range(50)]
    for thread in threads:
        thread.start()
    for _ in range(47):
        assert done.acquire(timeout=60)
    gate.set()
    for thread in threads:
        thread.join(60)
    assert (len(fake.seen), outcomes.count("refused")) == (3, 47)
    assert KeyTest.objects.filter(state="running").count() == 0


def credential_of(one: Credential) -> Credential:
    return Credential.objects.select_related("salt").get(pk=one.pk)


def test_twenty_people_at_one_address_share_its_limit(settings: Any, fake: FakeProvider, db: None) -> None:
    settings.KEY_TESTS_PER_ADDRESS = 7
    answers = []
    for number in range(20):
        person = User.objects.create_user(f"p{number}@example.com", "a long enough one")
        add_key(person, found_key(number))
        answers.append(by_token(person).post(TEST, REMOTE_ADDR="192.0.2.7"))
    assert [answer.status_code for answer in answers] == [200] * 7 + [429] * 13
    assert "from your network address" in answers[-1].json()["detail"]
    assert 3500 < int(answers[-1]["Retry-After"]) <= 3600
    assert len(fake.seen) == 7
    person = User.objects.create_user("elsewhere@example.com", "a long enough one")
    add_key(person)
    assert by_token(person).post(TEST, REMOTE_ADDR="192.0.2.8").status_code == 200


def test_all_people_together_are_limited_but_not_the_operator(settings: Any, fake: FakeProvider, db: None) -> None:
    settings.KEY_TESTS_PER_HOUR = 4
    people = [User.objects.create_user(f"p{number}@example.com", "a long enough one") for number in range(5)]
    for person in people[:4]:
        tried(person)
    with pytest.raises(QuotaExceeded, match="on this server"):
        tried(people[4])
    add_key(None)
    with pytest.raises(CommandError, match="OpenAI, invalid"):
        call_command("check_key", "openai", "--system")


def test_what_was_counted_is_forgotten_after_an_hour(alice: User) -> None:
    tried(alice, now=NOW)
    assert attempts.forget(now=NOW + timedelta(minutes=59)) == 0
    assert attempts.forget(now=NOW + timedelta(hours=1)) == 1
    assert recheck() >= 0


# --- Faces ----------------------------------------------------------------------------------------


def test_the_api_says_so_with_retry_after(alice: User, fake: FakeProvider) -> None:
    program = by_token(alice)
    for number in range(3):
        program.put("/api/v1/keys/openai/", {"key": found_key(number)}, "application/json")
        assert program.post(TEST).json()["category"] == "invalid"
        program.delete("/api/v1/keys/openai/")
    program.put("/api/v1/keys/openai/", {"key": KEY}, "application/json")
    answer = program.post(TEST)
    assert (answer.status_code, answer.json()["code"]) == (429, "QuotaExceeded")
    assert 0 < int(answer["Retry-After"]) <= 900
    assert answer.json()["data"]["retry_at"]
    assert len(fake.seen) == 3


def test_the_page_keeps_what_was_entered_and_says_when(alice: User, alice_client: Client, fake: FakeProvider) -> None:
    said = ""
    for number in range(4):
        said = alice_client.post(f"{PAGE}key/", {"api_key": found_key(number)}, headers=HTMX).content.decode()
    assert "Saved, not tested." in said
    assert "OpenAI rejected 3 of your keys" in said
    assert "Test again after" in said
    assert len(fake.seen) == 3
    assert Credential.objects.get().version == 4
    again = alice_client.post(f"{PAGE}test/", headers=HTMX).content.decode()
    assert "Not tested." in again
    assert len(fake.seen) == 3


# --- Results are kept for a minute ----------------------------------------------------------------


def test_a_result_of_the_last_minute_answers_again(alice: User, fake: FakeProvider) -> None:
    answering(fake, 200)
    credential = add_key(alice)
    first = checks.test_credential(credential, actor=alice, now=NOW)
    again = checks.test_credential(credential_of(credential), actor=alice, now=NOW + timedelta(seconds=59))
    assert (first.cached, again.cached, again.checked_at) == (False, True, NOW)
    assert (again.category, again.message, again.detail) == (first.category, first.message, first.detail)
    later = checks.test_credential(credential_of(credential), actor=alice, now=NOW + timedelta(seconds=60))
    assert not later.cached
    assert len(fake.seen) == 2


@pytest.mark.parametrize("how", ["force", "replace", "outage"])
def test_it_is_asked_anew(how: str, alice: User, fake: FakeProvider) -> None:
    answering(fake, 503 if how == "outage" else 200)
    credential = add_key(alice)
    checks.test_credential(credential, actor=alice, now=NOW)
    if how == "replace":
        credential = add_key(alice)
    again = checks.test_credential(credential_of(credential), actor=alice, now=NOW, force=how == "force")
    assert not again.cached
    assert len(fake.seen) == 2


def test_api_and_page_say_when_it_was_and_offer_to_do_it_anew(
    alice: User, alice_client: Client, fake: FakeProvider
) -> None:
    answering(fake, 200)
    add_key(alice)
    program = by_token(alice)
    first, second = program.post(TEST).json(), program.post(TEST).json()
    assert (first["cached"], second["cached"]) == (False, True)
    assert first["checked_at"] == second["checked_at"]
    shown = alice_client.post(f"{PAGE}test/", headers=HTMX).content.decode()
    assert "Tested now:" in shown or "ago:" in shown
    assert 'name="force"' in shown
    assert len(fake.seen) == 1
    assert "OpenAI answered in" in alice_client.post(f"{PAGE}test/", {"force": "1"}, headers=HTMX).content.decode()
    assert program.post(f"{TEST}?force=true").json()["cached"] is False
    assert len(fake.seen) == 3
    assert program.post(f"{TEST}?force=perhaps").status_code == 400


# --- The house's keys, and the command ------------------------------------------------------------


def test_the_command_tests_a_key(alice: User, fake: FakeProvider, capsys: pytest.CaptureFixture[str]) -> None:
    answering(fake, 200)
    add_key(alice)
    call_command("check_key", "openai", "--user", alice.email)
    assert capsys.readouterr().out == "OpenAI, valid: The key works.\n"
    with pytest.raises(CommandError, match="no stored OpenAI key of the house"):
        call_command("check_key", "openai", "--system")


def test_super_admins_test_the_houses_keys(admin_client: Client, fake: FakeProvider) -> None:
    answering(fake, 200)
    house = add_key(None)
    listing = "/admin/apikeys/credential/"
    chosen = {"action": "test", "_selected_action": [str(house.pk)]}
    assert "The key works." in admin_client.post(listing, chosen, follow=True).content.decode()
    assert Credential.objects.get().status == "valid"
    assert KeyTest.objects.get().actor.startswith("user:")


def slow(seconds: float) -> Callable[..., Any]:
    def resolve(*arguments: Any, **more: Any) -> Any:
        threading.Event().wait(seconds)
        raise OSError

    return resolve


def test_a_resolver_that_is_silent_is_not_waited_for(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getaddrinfo", slow(1.0))
    found = validation.check(registry.get("openai"), {"api_key": Secret(KEY)}, timeout=0.2)
    assert found.category is Category.TIMEOUT
