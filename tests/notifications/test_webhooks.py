"""Events reach webhooks signed, each until it is taken or a day is over, and nowhere that is not public."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeys import webhook_secrets
from apikeys.models import WebhookSecret
from digitalme.accounts.models import User
from digitalme.audit.models import AuditEvent
from digitalme.errors import InvalidRequest, SecurityViolation
from digitalme.notifications import deliveries, inbox, notices, preferences, retries, signing, webhooks
from digitalme.notifications.kinds import Channel, Kind
from digitalme.notifications.models import Delivery, Letter, Webhook
from digitalme.notifications.notices import Message
from providers import outbound
from providers.secrets import Secret
from tests.fakes import FakeProvider, Manner, Reply, Seen

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def receiver(settings: Any) -> Iterator[FakeProvider]:
    """Where events are posted, on loopback, which the operator lets people name."""
    settings.DIGITALME_PRIVATE_HOSTS = frozenset({"127.0.0.1"})
    with FakeProvider() as fake:
        fake.manner = Manner(status=204, body=b"")
        yield fake


@pytest.fixture
def hook(alice: User, receiver: FakeProvider) -> tuple[Webhook, str]:
    """A webhook of alice's, and its secret."""
    return webhook_secrets.add(user=alice, url=f"{receiver.url}/events?of=alice", name="pager", now=NOW)


def tell(user: User, now: datetime = NOW, **facts: Any) -> None:
    message = Message(
        kind=Kind.QUOTA, title="Half is gone", text="x", link="/settings/usage/", facts={"cost": Decimal("0.50")}
    )
    notices.tell([user.pk], message, now=now)


def signed_by(secret: str, seen: Seen) -> str:
    """The signature that the published scheme asks for, computed by its words alone."""
    headers = seen.headers
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{seen.body.decode()}"
    key = base64.b64decode(secret[len("whsec_") :])
    return "v1," + base64.b64encode(hmac.new(key, signed.encode(), hashlib.sha256).digest()).decode()


def test_an_event_arrives_signed(alice: User, hook: tuple[Webhook, str], receiver: FakeProvider) -> None:
    tell(alice)
    assert deliveries.send_due(now=NOW) == 1
    (seen,) = receiver.seen
    assert (seen.method, seen.path) == ("POST", "/events?of=alice")
    assert seen.headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    assert seen.headers["webhook-signature"] == signed_by(hook[1], seen)
    event = json.loads(seen.body)
    assert (event["type"], event["timestamp"]) == ("quota.threshold", NOW.isoformat())
    assert event["data"]["title"] == "Half is gone"
    assert event["data"]["link"] == "http://127.0.0.1:8000/settings/usage/"
    assert event["data"]["facts"] == {"cost": "0.50"}
    done = Delivery.objects.get()
    assert (done.state, done.answer_status, done.attempts, done.problem) == ("delivered", 204, 1, "")
    assert deliveries.send_due(now=NOW + DAY) == 0


@pytest.mark.once
@given(st.binary(max_size=64), st.binary(max_size=64), st.integers(0, 2**40), st.integers(0, 2**40))
def test_whatever_is_altered_has_another_signature(body: bytes, other: bytes, sent: int, later: int) -> None:
    secret = signing.new_secret()

    def signature(what: bytes, second: int, by: str = secret, of: int = 1) -> str:
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second % 10**9)
        return signing.headers(UUID(int=of), what, Secret(by), now=at)["webhook-signature"]

    same = signature(body, sent)
    assert same == signature(body, sent)
    assert (same == signature(other, later)) == ((body, sent % 10**9) == (other, later % 10**9))
    assert same != signature(body, sent, signing.new_secret())
    assert same != signature(body, sent, of=2)


@pytest.mark.once
def test_the_example_in_the_documentation_tells_the_genuine_from_the_rest(settings: Any) -> None:
    text = (settings.BASE_DIR / "docs" / "users.md").read_text()
    given: dict[str, Any] = {}
    exec(text.partition("```python\nimport base64")[2].partition("```")[0].join(("import base64", "")), given)  # noqa: S102
    is_genuine, secret, now = given["is_genuine"], signing.new_secret(), datetime.now(UTC)
    sent = signing.headers(UUID(int=1), b"{}", Secret(secret), now=now)
    old = signing.headers(UUID(int=1), b"{}", Secret(secret), now=now - timedelta(minutes=6))
    assert is_genuine(secret, sent, b"{}")
    assert not is_genuine(secret, sent, b"{ }")
    assert not is_genuine(signing.new_secret(), sent, b"{}")
    assert not is_genuine("", sent, b"{}")
    assert not is_genuine(secret, old, b"{}")
    assert not is_genuine(secret, sent | {"webhook-id": str(UUID(int=2))}, b"{}")
    assert not is_genuine(secret, sent | {"webhook-timestamp": old["webhook-timestamp"]}, b"{}")


@pytest.mark.once
def test_the_documentation_names_every_kind_of_event(settings: Any) -> None:
    text = (settings.BASE_DIR / "docs" / "users.md").read_text()
    assert [kind for kind in Kind if f"`{kind}`" not in text] == []


def test_nobody_elses_webhook_and_none_that_is_off_gets_it(
    alice: User, bob: User, hook: tuple[Webhook, str], receiver: FakeProvider
) -> None:
    tell(bob)
    preferences.choose(alice.pk, [(Kind.QUOTA, Channel.INBOX)], among=[Kind.QUOTA])
    tell(alice)
    preferences.choose(alice.pk, [(Kind.QUOTA, Channel.WEBHOOK)], among=[Kind.QUOTA])
    tell(alice)
    webhooks.switch(hook[0], on=False)
    tell(alice)
    assert deliveries.send_due(now=NOW) == 0
    assert receiver.seen == []
    assert [one.state for one in Delivery.objects.all()] == ["failed"]


def test_what_is_not_taken_is_tried_for_a_day_with_the_same_id_then_its_owner_is_told(
    alice: User, hook: tuple[Webhook, str], receiver: FakeProvider
) -> None:
    receiver.manner = Manner(status=500)
    tell(alice)
    now = NOW
    while waiting := Delivery.objects.filter(state="waiting").first():
        assert waiting.next_try_at is not None
        now = waiting.next_try_at
        assert deliveries.send_due(now=now) == 0
    assert len(receiver.seen) == 8
    assert timedelta(hours=23) < now - NOW < timedelta(hours=25)
    assert len({seen.headers["webhook-id"] for seen in receiver.seen}) == 1
    assert len({seen.headers["webhook-timestamp"] for seen in receiver.seen}) == 8
    assert all(seen.headers["webhook-signature"] == signed_by(hook[1], seen) for seen in receiver.seen)
    done = Delivery.objects.get()
    assert (done.state, done.answer_status) == ("failed", 500)
    told = inbox.of(alice.pk).get(kind=Kind.WEBHOOK)
    assert "takes nothing" in told.title
    assert "500" in told.text
    assert Webhook.objects.get().is_active


def test_one_that_fails_for_days_or_is_gone_is_switched_off(
    alice: User, hook: tuple[Webhook, str], receiver: FakeProvider
) -> None:
    receiver.manner = Manner(status=503)
    Webhook.objects.update(failing_since=NOW - deliveries.LONGEST_FAILURE)
    tell(alice)
    tell(alice)
    Delivery.objects.update(attempts=len(retries.WAITS))
    deliveries.send_due(now=NOW)
    off = Webhook.objects.get()
    assert (off.is_active, off.ended) == (False, "It took nothing for days.")
    assert set(Delivery.objects.values_list("state", flat=True)) == {"failed"}
    assert "switched off" in inbox.of(alice.pk).get(kind=Kind.WEBHOOK).title
    webhooks.switch(off, on=True)
    receiver.manner = Manner(status=410)
    tell(alice)
    deliveries.send_due(now=NOW + DAY)
    assert Webhook.objects.get().ended == "It answered 410, gone."


def test_success_ends_a_failure(alice: User, hook: tuple[Webhook, str], receiver: FakeProvider) -> None:
    Webhook.objects.update(failing_since=NOW - 9 * DAY)
    tell(alice)
    deliveries.send_due(now=NOW)
    assert Webhook.objects.get().failing_since is None


def test_a_receiver_that_fails_costs_the_others_one_try(
    alice: User, bob: User, hook: tuple[Webhook, str], receiver: FakeProvider
) -> None:
    webhook_secrets.add(user=bob, url=f"{receiver.url}/bob", name="chat", now=NOW)
    receiver.manner = Manner(reply=lambda seen: _reply(404 if "alice" in seen.path else 200))
    for _ in range(3):
        tell(alice)
    tell(bob)
    assert deliveries.send_due(now=NOW) == 1
    assert [seen.path for seen in receiver.seen] == ["/events?of=alice", "/bob"]
    times = iter([0.0, 0.0, deliveries.MOST_SECONDS])
    deliveries.send_due(now=NOW, clock=lambda: next(times))
    assert len(receiver.seen) == 3


def _reply(status: int) -> Any:
    return Reply(status, {})


def test_a_worker_that_dies_over_an_event_leaves_it_to_the_next(
    alice: User, hook: tuple[Webhook, str], receiver: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_given: Any, **_options: Any) -> Any:
        raise KeyboardInterrupt

    tell(alice)
    with monkeypatch.context() as patch:
        patch.setattr(outbound, "fetch", killed)
        with pytest.raises(KeyboardInterrupt):
            deliveries.send_due(now=NOW)
    assert deliveries.send_due(now=NOW) == 0  # whoever took it may still be at it
    assert deliveries.send_due(now=NOW + retries.CLAIM) == 1
    assert len(receiver.seen) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://127.0.0.1/",
        "https://[::ffff:a9fe:a9fe]/",
        "https://169.254.169.254/latest/",
        "https://10.0.0.1/",
        "https://2130706433/",
        "https://example.com:8443/",
        "https://user@example.com/",
        "https://example.com/#x",
        "https://example.com/?token=x",
        "file:///etc/passwd",
        "http://127.0.0.1:8000/api/v1/",
        "",
    ],
)
def test_an_address_that_leads_inside_is_refused(alice: User, url: str) -> None:
    with pytest.raises(SecurityViolation):
        webhook_secrets.add(user=alice, url=url, name="x", now=NOW)
    assert not Webhook.objects.exists()


def test_an_address_that_leads_inside_later_is_not_reached(
    alice: User, hook: tuple[Webhook, str], receiver: FakeProvider, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DIGITALME_PRIVATE_HOSTS = frozenset()
    tell(alice)
    deliveries.send_due(now=NOW)
    assert "public internet" in Delivery.objects.get().problem or "https" in Delivery.objects.get().problem
    Webhook.objects.update(url="https://rebound.example/")
    monkeypatch.setattr("socket.getaddrinfo", lambda *_given, **_more: [(2, 1, 6, "", ("10.0.0.1", 443))])
    assert "public internet" in deliveries.test(Webhook.objects.get(), now=NOW).problem
    assert receiver.seen == []


def test_a_redirect_is_not_followed(alice: User, hook: tuple[Webhook, str], receiver: FakeProvider) -> None:
    receiver.manner = Manner(status=307, headers={"Location": f"{receiver.url}/inside"})
    outcome = deliveries.test(hook[0], now=NOW)
    assert (outcome.state, outcome.answer_status, "redirect" in outcome.problem) == ("failed", 307, True)
    assert len(receiver.seen) == 1


def test_what_a_receiver_answers_is_kept_nowhere(hook: tuple[Webhook, str], receiver: FakeProvider) -> None:
    receiver.manner = Manner(status=500, body=b"canary from inside")
    deliveries.test(hook[0], now=NOW)
    assert "canary" not in str(Delivery.objects.values())


def test_bounds(alice: User, receiver: FakeProvider) -> None:
    for number in range(webhooks.MOST):
        webhook_secrets.add(user=alice, url=f"{receiver.url}/{number}", name="x", now=NOW)
    with pytest.raises(InvalidRequest, match="up to 10"):
        webhook_secrets.add(user=alice, url=f"{receiver.url}/x", name="x", now=NOW)
    with pytest.raises(InvalidRequest, match="name"):
        webhook_secrets.add(user=alice, url=f"{receiver.url}/x", name=" ", now=NOW)


def test_the_secret_lies_nowhere_in_the_clear(alice: User, hook: tuple[Webhook, str], receiver: FakeProvider) -> None:
    tell(alice)
    deliveries.send_due(now=NOW)
    shown = [str(list(model._default_manager.values())) for model in (Webhook, Delivery, WebhookSecret, AuditEvent)]
    sent = " ".join([*shown, str(receiver.seen), *(str(one.body) for one in Letter.objects.all())])
    assert hook[1] not in sent
    assert hook[1].removeprefix("whsec_") not in sent


def test_a_new_secret_signs_what_comes_after_it(alice: User, hook: tuple[Webhook, str], receiver: FakeProvider) -> None:
    renewed = webhook_secrets.renew(user=alice, webhook=hook[0])
    assert renewed != hook[1]
    deliveries.test(hook[0], now=NOW)
    assert receiver.seen[0].headers["webhook-signature"] == signed_by(renewed, receiver.seen[0])
    assert WebhookSecret.objects.get().version == 2


def test_a_secret_that_was_moved_or_altered_signs_nothing(
    alice: User, bob: User, hook: tuple[Webhook, str], receiver: FakeProvider
) -> None:
    other, _ = webhook_secrets.add(user=bob, url=f"{receiver.url}/bob", name="x", now=NOW)
    mine, theirs = WebhookSecret.objects.get(webhook=hook[0]), WebhookSecret.objects.get(webhook=other)
    WebhookSecret.objects.filter(pk=theirs.pk).update(sealed=mine.sealed)
    outcome = deliveries.test(other, now=NOW)
    assert (outcome.state, receiver.seen) == ("failed", [])
    theirs.delete()
    assert deliveries.test(other, now=NOW).state == "failed"


def test_old_events_are_forgotten(alice: User, hook: tuple[Webhook, str]) -> None:
    tell(alice)
    assert deliveries.forget(now=NOW + deliveries.KEPT) == 0
    assert deliveries.forget(now=NOW + deliveries.KEPT + timedelta(seconds=1)) == 1
