"""Each process says which keys of the house it holds, for as long as it lives."""

import os
import threading
from typing import Any

import pytest
from django.db import DatabaseError

from apikeys import heartbeat, keyring, masters
from apikeys.models import HouseKey, KeyHolder
from tests.apikeys.houses import BOTH


@pytest.mark.django_db(transaction=True)
def test_a_process_says_which_keys_it_holds_until_it_ends() -> None:
    beat = heartbeat.Heartbeat("worker").start()
    holder = heartbeat.live().get()
    assert (holder.role, holder.pid, holder.sealing_id) == ("worker", os.getpid(), "test")
    assert set(holder.known["master"]) == {"test"}
    beat.stop()
    assert not heartbeat.live().exists()


@pytest.mark.django_db(transaction=True)
def test_a_process_follows_a_promotion_with_its_next_beat(settings: Any) -> None:
    settings.DIGITALME_MASTER_KEYS = BOTH
    masters.verify()
    holder = KeyHolder(role="web", host="north", pid=1)
    heartbeat.beat(holder)
    HouseKey.objects.filter(key_id="k1").update(state="sealing")
    masters.refresh()
    heartbeat.beat(holder)
    assert KeyHolder.objects.get().sealing_id == "k1"


@pytest.mark.django_db(transaction=True)
def test_a_beat_that_fails_is_followed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.01)
    beaten = threading.Event()

    def fail(holder: KeyHolder) -> None:
        if fails:
            fails.pop()
            raise DatabaseError("gone")
        beaten.set()

    fails: list[int] = []
    beat = heartbeat.Heartbeat("web")
    monkeypatch.setattr(heartbeat, "beat", fail)
    beat.start()
    beaten.clear()
    fails += [1, 2]
    assert beaten.wait(30)
    beat.stop()


def test_a_heartbeat_does_not_begin_with_keys_that_are_refused(db: None, settings: Any) -> None:
    settings.DIGITALME_MASTER_KEYS = ""
    with pytest.raises(keyring.UnusableKey, match="DIGITALME_MASTER_KEYS"):
        heartbeat.Heartbeat("web").start()
