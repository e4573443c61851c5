"""Sealing anew while people write, at any pace, stopped and gone on with."""

import uuid
from collections.abc import Callable

import pytest
from django.core.management import call_command
from django.utils import timezone

from apikeys import resealing, webhook_secrets
from apikeys.models import Credential, Resealing, WebhookSecret
from digitalme.accounts.models import User
from providers.secrets import Secret
from tests.apikeys.conftest import KEY, OTHER_KEY, add_key
from tests.apikeys.houses import BOTH, opened, rotate, sealed_with


def test_a_throttled_reseal_takes_its_time(house: Callable[[str], None], alice: User, bob: User) -> None:
    add_key(alice)
    add_key(bob)
    house(BOTH)
    rotate("promote", "k2")
    pauses: list[float] = []
    resealing.run(throttle=1, sleep=pauses.append)
    assert len(pauses) == 2
    assert all(0 <= pause <= 1 for pause in pauses)
    assert sealed_with() == {"k2"}


def test_a_reseal_stops_when_another_master_is_promoted_meanwhile(
    house: Callable[[str], None], alice: User, bob: User
) -> None:
    add_key(alice)
    add_key(bob)
    house(BOTH)
    rotate("promote", "k2")

    def back(progress: resealing.Progress) -> None:
        if progress.resealed == 1:
            call_command("rotate_master_key", "promote", "k1")

    with pytest.raises(resealing.Superseded, match="Run it again"):
        resealing.run(batch=1, tell=back)
    assert opened() == {KEY}


def test_secrets_of_webhooks_are_sealed_anew_too(house: Callable[[str], None], alice: User) -> None:
    webhook, secret = webhook_secrets.add(user=alice, url="https://example.com/", name="pager", now=timezone.now())
    house(BOTH)
    rotate("promote", "k2")
    assert resealing.run().resealed == 1
    assert WebhookSecret.objects.get().key_id == "k2"
    assert webhook_secrets.opened(webhook.pk) == Secret(secret)
    rotate("retire", "k1")


def test_an_interrupted_reseal_goes_on_where_it_stopped(house: Callable[[str], None], alice: User, bob: User) -> None:
    add_key(alice)
    add_key(bob)
    house(BOTH)
    rotate("promote", "k2")

    def stop(progress: resealing.Progress) -> None:
        if progress.resealed == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resealing.run(batch=1, tell=stop)
    mark = Resealing.objects.get()
    assert (mark.resealed, mark.finished_at) == (1, None)
    assert mark.cursor == Credential.objects.get(key_id="k2").id
    assert "1 stored keys sealed anew" in rotate("reseal")
    mark.refresh_from_db()
    assert mark.resealed == 2
    assert mark.finished_at


def test_a_change_that_comes_between_reading_and_writing_wins(
    house: Callable[[str], None], alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    credential = add_key(alice)
    house(BOTH)
    rotate("promote", "k2")
    stale = list(Credential.objects.select_related("salt"))
    add_key(alice, OTHER_KEY)
    goal = resealing.target()
    columns = resealing._renewed(goal)(stale[0])
    assert columns
    assert resealing._swap(stale[0], columns) == 0
    assert opened() == {OTHER_KEY}
    assert credential.id == uuid.UUID(str(stale[0].id))
